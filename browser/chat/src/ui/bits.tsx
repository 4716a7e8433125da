/** The smallest parts: icons, avatars, dialogs, segmented choices. */

import type { ComponentChildren, JSX } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { t } from "../i18n.ts";
import { hue, initial } from "../text.ts";

const PATHS = {
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14Zm5 12 4.500 4.500",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  send: "M12 20V5M5.500 11.500 12 5l6.500 6.500",
  clip: "M20 11.500 12.200 19.300a5 5 0 0 1-7.100-7.100l8-8a3.400 3.400 0 0 1 4.800 4.800l-8 8a1.700 1.700 0 0 1-2.400-2.400l7.300-7.300",
  people: "M9 11.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7ZM2.500 19.500c.6-3.400 3.200-5 6.500-5s5.900 1.600 6.500 5M15.500 4.800a3.500 3.500 0 0 1 0 6.400M18 14.900c2 .7 3.200 2.200 3.500 4.600",
  menu: "M4 7h16M4 12h16M4 17h10",
  gear: "M12 15.200a3.200 3.200 0 1 0 0-6.400 3.200 3.200 0 0 0 0 6.400ZM19 12a7 7 0 0 0-.1-1.200l2-1.500-2-3.400-2.300 1a7 7 0 0 0-2.100-1.200L14.200 3h-4.400l-.3 2.700a7 7 0 0 0-2.100 1.200l-2.300-1-2 3.400 2 1.500a7 7 0 0 0 0 2.400l-2 1.500 2 3.400 2.300-1a7 7 0 0 0 2.100 1.200l.3 2.700h4.400l.3-2.700a7 7 0 0 0 2.100-1.200l2.300 1 2-3.400-2-1.500c.1-.4.1-.8.100-1.200Z",
  down: "M12 5v14M5.500 12.500 12 19l6.500-6.500",
  left: "M14.500 5 8 12l6.500 7",
  right: "M9.500 5 16 12l-6.500 7",
  file: "M13.500 3.500H7A1.500 1.500 0 0 0 5.500 5v14A1.500 1.500 0 0 0 7 20.500h10a1.500 1.500 0 0 0 1.500-1.500V8.500l-5-5Zm0 0v5h5",
  download: "M12 4v11M7 10.500 12 15.500l5-5M5 20h14",
  leave: "M14 5H6.500A1.500 1.500 0 0 0 5 6.500v11A1.500 1.500 0 0 0 6.500 19H14M10.500 12H20m-3.500-3.500L20 12l-3.500 3.500",
  retry: "M19.500 12a7.500 7.500 0 1 1-2.200-5.300L19.500 9M19.500 4v5h-5",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16Zm0 3.500V12l3 2",
  warn: "M12 4 2.800 19.500h18.400L12 4Zm0 6v4.500M12 17.200v.1",
  bolt: "M13 3 5 13.500h6L10 21l8-10.500h-6L13 3Z",
  poll: "M4 8.500h13m-3.500-3.500L17 8.500 13.500 12M20 15.500H7m3.500-3.500L7 15.500l3.500 3.500",
  check: "M4.500 12.500 9.500 17.500 19.500 7",
} as const;

type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The ㅁ-shaped courtyard house, its gate open, somebody inside. */
export function Logo() {
  return (
    <svg class="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect class="logo-ground" width="32" height="32" rx="8" />
      <path class="logo-house" d="M13 24.500H9A1.500 1.500 0 0 1 7.500 23V9A1.500 1.500 0 0 1 9 7.500h14A1.500 1.500 0 0 1 24.500 9v14a1.500 1.500 0 0 1-1.500 1.500h-4" />
      <circle class="logo-person" cx="16" cy="16" r="3" />
    </svg>
  );
}

/** One tick: stored. Two: somebody has seen it. */
export function Ticks({ two }: { two: boolean }) {
  return (
    <svg class={`ticks ${two ? "two" : ""}`} viewBox="0 0 22 14" aria-hidden="true">
      <path d={two ? "M1.500 7.500 5.500 11.500 13 3M9.500 10.300 10.700 11.500 19 3" : "M5.500 7.500 9.500 11.500 17 3"} />
    </svg>
  );
}

export function Avatar({ nick, size = "" }: { nick: string; size?: "" | "small" | "large" }) {
  return (
    <span class={`avatar ${size}`} data-hue={hue(nick)} aria-hidden="true">
      {initial(nick)}
    </span>
  );
}

type ButtonProps = { icon: IconName; label: string } & Omit<JSX.IntrinsicElements["button"], "icon" | "label">;

export function IconButton({ icon, label, class: extra, ...rest }: ButtonProps) {
  return (
    <button type="button" class={`icon-button ${extra ?? ""}`} aria-label={label} title={label} {...rest}>
      <Icon name={icon} />
    </button>
  );
}

/** A modal dialog: keeps the focus, closes with Esc or a click beside it, gives the focus back. */
export function Dialog(props: { title: string; class?: string; onClose?: () => void; children: ComponentChildren }) {
  const ref = useRef<HTMLDialogElement>(null);
  const { onClose } = props;
  useLayoutEffect(() => {
    const dialog = ref.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      // Give the focus back, unless somebody took it meanwhile.
      const focused = document.activeElement;
      const lost = !focused || focused === document.body || focused.closest("dialog");
      dialog?.close(); // first, since nothing else can have the focus while it is open
      if (lost && before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={`dialog ${props.class ?? ""}`}
      aria-label={props.title}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClick={(event) => event.target === ref.current && onClose?.()}
    >
      <div class="dialog-body">
        {onClose && <IconButton icon="close" label={t().close} class="dialog-close" onClick={onClose} />}
        {props.children}
      </div>
    </dialog>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChoose: (value: T) => void;
}

/** A row of radio buttons that looks like one control. */
export function Choice<T extends string>({ label, value, options, onChoose }: ChoiceProps<T>) {
  return (
    <fieldset class="choice">
      <legend>{label}</legend>
      <div class="choice-row">
        {options.map(([option, text]) => (
          <label key={option}>
            <input type="radio" name={label} checked={option === value} onChange={() => onChoose(option)} />
            <span>{text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}
