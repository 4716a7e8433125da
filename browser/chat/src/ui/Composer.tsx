import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { limits, type RoomState } from "../chat.ts";
import { ask, Refused, socket, Unanswered } from "../connection.ts";
import { t } from "../i18n.ts";
import { say, sendFile } from "../outbox.ts";
import { IconButton } from "./bits.tsx";
import { touch } from "./view.ts";

const TELL_EVERY_MS = 2_500;
/** What was begun in each room and not sent. */
const begun = new Map<string, string>();

/** Tells the room that somebody writes: not more often than needed, and once when it's over. */
class TypingTeller {
  private last = 0;
  private on = false;

  constructor(private readonly room: string) {}

  tell(on: boolean): void {
    const now = Date.now();
    if (!socket.connected || (on === this.on && (!on || now - this.last < TELL_EVERY_MS))) return;
    this.on = on;
    this.last = now;
    ask("typing", { room: this.room, on }).catch((error: unknown) => {
      if (!(error instanceof Unanswered || error instanceof Refused)) throw error;
    });
  }
}

export function Composer({ state }: { state: RoomState }) {
  const words = t();
  const area = useRef<HTMLTextAreaElement>(null);
  const picker = useRef<HTMLInputElement>(null);
  const typing = useRef(new TypingTeller(state.id)).current;
  const text = useSignal(begun.get(state.id) ?? "");
  const left = limits.value.text - text.value.length;
  const room = state.room.value;

  useEffect(() => () => typing.tell(false), []);

  // At once, not after the next frame: by then the focus may be elsewhere on purpose.
  useLayoutEffect(() => {
    if (!touch.matches) area.current?.focus();
  }, []);

  useLayoutEffect(() => {
    const element = area.current;
    if (!element) return;
    element.style.height = "auto";
    element.style.height = `${element.scrollHeight}px`;
  }, [text.value]);

  const change = (value: string) => {
    text.value = value;
    begun.set(state.id, value);
    typing.tell(value.trim() !== "");
  };
  const send = () => {
    const wanted = text.value.trim();
    if (!wanted || left < 0) return;
    say(state.id, wanted);
    change("");
    state.divider.value = null;
    area.current?.focus();
  };
  const sendFiles = (files: FileList | undefined | null) => {
    for (const file of files ?? []) void sendFile(state.id, file);
  };

  return (
    <div class="composer-frame">
      <Typing state={state} />
      <form
        class="composer"
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <input
          ref={picker}
          type="file"
          multiple
          hidden
          data-testid="files"
          onChange={(event) => {
            sendFiles(event.currentTarget.files);
            event.currentTarget.value = "";
          }}
        />
        <IconButton icon="clip" label={words.attach} onClick={() => picker.current?.click()} />
        <textarea
          id="composer"
          ref={area}
          rows={1}
          value={text.value}
          aria-label={words.messageTo(room.name)}
          aria-describedby="composer-hint"
          placeholder={words.messageTo(room.name)}
          enterkeyhint={touch.matches ? "enter" : "send"}
          onInput={(event) => change(event.currentTarget.value)}
          onKeyDown={(event) => {
            // While an input method composes (Hangul!), Enter belongs to it; Safari says so by key code 229 only.
            if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
            if (touch.matches) return; // on-screen keyboards have no Shift+Enter
            event.preventDefault();
            send();
          }}
          onPaste={(event) => {
            if (!event.clipboardData?.files.length) return;
            event.preventDefault();
            sendFiles(event.clipboardData.files);
          }}
        />
        <IconButton icon="send" label={words.send} class="send" type="submit" disabled={!text.value.trim() || left < 0} />
      </form>
      <p id="composer-hint" class={left < 200 ? "composer-hint" : "sr-only"}>
        {left < 200 ? <span class={left < 0 ? "problem" : ""}>{words.chars(left)}</span> : words.composerHint}
      </p>
    </div>
  );
}

function Typing({ state }: { state: RoomState }) {
  const text = useComputed(() => {
    const [first, second, ...others] = [...state.typing.value.values()];
    if (!first) return "";
    if (!second) return t().typing1(first.nick);
    return others.length ? t().typingMany(2 + others.length) : t().typing2(first.nick, second.nick);
  });
  return (
    <p class="typing" data-testid="typing">
      {text.value && (
        <>
          <span class="dots" aria-hidden="true"><i /><i /><i /></span>
          {text.value}
        </>
      )}
    </p>
  );
}
