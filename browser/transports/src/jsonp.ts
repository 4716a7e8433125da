/** JSONP: long-polling by script elements, and forms that are sent into iframes; no XHR and no fetch.
 *
 * Source: engine.io-client 5, "polling-jsonp": the name of the global, and how line breaks are written in a form.
 */

import { Base, type Options } from "./base.ts";
import { attach, hiddenFrame, refuseHeaders } from "./dom.ts";

/** Servers ask whose page it is. A page that hides where requests come from may still tell them its origin. */
const REFERRER = "origin";

type Callbacks = ((payload: unknown) => void)[];

/** The global that the server's scripts call. Older official clients use it too, and keep hold of theirs. */
const GLOBAL = "___eio";
const scope = globalThis as { [GLOBAL]?: Callbacks };
let ours: Callbacks | undefined;

export class JSONP extends Base {
  #script: HTMLScriptElement | undefined;
  readonly #frames = new Map<HTMLIFrameElement, () => void>();

  constructor(opts: Options) {
    super(opts);
    this.lingers = true;
    refuseHeaders("jsonp", "anything", opts.extraHeaders);
  }

  get name(): string {
    return "jsonp";
  }

  protected ask(): void {
    const script = document.createElement("script");
    this.#script = script;
    let payload: unknown;
    const [index, release] = register((value) => {
      payload = value;
    });
    const done = () => {
      script.remove();
      release();
      if (this.#script !== script) return; // too late: nobody asks any more
      this.#script = undefined;
      if (typeof payload === "string") {
        this.take(payload);
        this.again(0);
      } else {
        const why = "the script was refused or is no answer; the browser tells no more";
        this.fail(this.readyState === "opening" ? "open" : "read", why);
      }
    };
    script.addEventListener("load", done);
    script.addEventListener("error", done);
    script.async = true;
    script.referrerPolicy = REFERRER;
    script.src = this.uri({ j: String(index) });
    attach(script);
  }

  protected drop(): void {
    // A script can't be called back: when it comes, it finds its callback, and nobody behind it.
    this.#script?.remove();
    this.#script = undefined;
    for (const abort of [...this.#frames.values()]) abort();
  }

  protected override post(body: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const frame = hiddenFrame("Socket.IO");
      frame.setAttribute("sandbox", "allow-same-origin allow-forms"); // what comes back is only looked at
      const timeout = this.opts.requestTimeout ?? 0;
      const finish = (error?: Error) => {
        clearTimeout(timer);
        this.#frames.delete(frame);
        frame.remove();
        if (error) reject(error);
        else resolve();
      };
      const late = () => finish(new Error(`no answer within ${timeout} ms (requestTimeout)`));
      const timer = timeout > 0 ? setTimeout(late, timeout) : undefined;
      this.#frames.set(frame, () => finish(new Error("aborted")));
      attach(frame);
      const uri = this.uri({ j: "0" });
      frame.addEventListener("load", () => {
        const answer = answerIn(frame, uri);
        if (answer === "") return; // the empty document that every iframe begins with
        finish(answer === "ok" || answer === null ? undefined : new Error(answer));
      });
      const blank = frame.contentDocument;
      if (blank) formIn(blank, uri, body).submit();
      else finish(new Error("the page may have no frame of its own"));
    });
  }
}

/** A place among the callbacks, and what gives it back. */
function register(callback: (payload: unknown) => void): [number, () => void] {
  const callbacks = (scope[GLOBAL] ??= ours = []);
  const index = callbacks.length;
  callbacks[index] = callback;
  const release = () => {
    delete callbacks[index];
    // Nothing is left behind; but what another program has made, or uses, stays.
    if (callbacks === ours && scope[GLOBAL] === ours && !Object.keys(callbacks).length) delete scope[GLOBAL];
  };
  return [index, release];
}

/** Line breaks as the official client writes them: browsers turn those of a form into \r\n. */
function escaped(payload: string): string {
  return payload.replace(/\\n/g, "\\\n").replace(/\n/g, "\\n");
}

/** The form of a payload, in the frame's own document: there it can say where it comes from, whatever the page's rule. */
function formIn(blank: Document, action: string, body: string): HTMLFormElement {
  const rule = blank.createElement("meta");
  rule.name = "referrer";
  rule.content = REFERRER;
  blank.head.append(rule);
  const form = blank.createElement("form");
  form.method = "POST";
  form.action = action;
  form.acceptCharset = "utf-8";
  const field = blank.createElement("textarea");
  field.name = "d";
  field.value = escaped(body);
  form.append(field);
  blank.body.append(form);
  return form;
}

/** What a POST was answered with: "" for no answer yet, and null where the page may not see it. */
function answerIn(frame: HTMLIFrameElement, action: string): string | null {
  const { contentDocument } = frame;
  if (contentDocument === null) {
    // Of our own origin only the browser's page about an error is hidden from us.
    return new URL(action).origin === location.origin ? "the request failed" : null;
  }
  if (contentDocument.URL === "about:blank") return "";
  const text = contentDocument.body?.textContent?.trim() ?? "";
  return text === "ok" ? text : text.slice(0, 200) || "an empty answer";
}
