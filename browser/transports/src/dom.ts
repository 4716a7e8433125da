/** What the transports need of the document. */

/** An iframe that nobody sees, hears of, or gets to by the keyboard. Its first navigation makes no entry in the history. */
export function hiddenFrame(title: string): HTMLIFrameElement {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.style.display = "none";
  frame.tabIndex = -1;
  frame.title = title;
  frame.setAttribute("aria-hidden", "true");
  return frame;
}

/** Put elements into the document, which may have no body yet. */
export function attach(...elements: readonly HTMLElement[]): void {
  (document.body ?? document.documentElement).append(...elements);
}

/** Say which headers a transport can't send. */
export function refuseHeaders(name: string, what: string, headers: Readonly<Record<string, string>> = {}): void {
  const names = Object.keys(headers);
  if (names.length) console.error(`madang-transports: ${name} can't send extraHeaders with ${what}: ${names.join(", ")}`);
}
