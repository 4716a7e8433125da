import { useSignal } from "@preact/signals";
import { create, me, rename } from "../chat.ts";
import { connect, refusal, Refused, status, Unanswered } from "../connection.ts";
import { problem, t } from "../i18n.ts";
import { permission, switchNotifications } from "../notify.ts";
import { language, nick, notify, theme, type Language } from "../settings.ts";
import { Avatar, Choice, Dialog, Logo } from "./bits.tsx";
import { dialog, focusComposer, proposedName } from "./view.ts";

const LANGUAGES = [["en", "English"], ["ko", "한국어"]] as const satisfies [Language, string][];

/** The words for what went wrong with a request. */
function reason(error: unknown): string {
  if (error instanceof Refused) return problem(error.problem.code);
  if (error instanceof Unanswered) return t().offline;
  throw error;
}

export function WelcomeDialog() {
  const words = t();
  const wanted = useSignal(nick.value);
  const refused = refusal.value;
  return (
    <Dialog title={words.welcomeTitle} class="welcome">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const name = wanted.value.trim();
          if (!name) return;
          nick.value = name;
          me.value = { ...me.value, nick: name };
          connect();
          requestAnimationFrame(focusComposer);
        }}
      >
        <Logo />
        <h2>{words.welcomeTitle}</h2>
        <p>{words.welcomeText}</p>
        <label class="field">
          <span>{words.yourName}</span>
          <span class="with-avatar">
            <Avatar nick={wanted.value || "?"} />
            <input
              autoFocus
              required
              name="nick"
              maxLength={32}
              autocomplete="nickname"
              placeholder={words.namePlaceholder}
              value={wanted.value}
              aria-invalid={refused ? true : undefined}
              aria-describedby="welcome-problem"
              onInput={(event) => (wanted.value = event.currentTarget.value)}
            />
          </span>
        </label>
        <p id="welcome-problem" class="problem" role="alert">
          {refused ? problem(refused.code) : ""}
        </p>
        <button class="button primary">
          {words.enter}
        </button>
        <div class="welcome-language" role="group" aria-label={words.languageLabel}>
          {LANGUAGES.map(([code, name]) => (
            <button
              type="button"
              key={code}
              lang={code}
              aria-pressed={language.value === code}
              onClick={() => (language.value = code)}
            >
              {name}
            </button>
          ))}
        </div>
      </form>
    </Dialog>
  );
}

export function CreateRoom() {
  const words = t();
  const name = useSignal(proposedName.value);
  const topic = useSignal("");
  const failure = useSignal("");
  const close = () => (dialog.value = "");
  const submit = async () => {
    try {
      await create(name.value.trim(), topic.value.trim());
      close();
      requestAnimationFrame(focusComposer);
    } catch (error) {
      failure.value = reason(error);
    }
  };
  return (
    <Dialog title={words.newRoom} onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void submit();
        }}
      >
        <h2>{words.newRoom}</h2>
        <label class="field">
          <span>{words.roomName}</span>
          <input
            autoFocus
            required
            name="name"
            maxLength={40}
            autocomplete="off"
            placeholder={words.roomNamePlaceholder}
            value={name.value}
            onInput={(event) => (name.value = event.currentTarget.value)}
          />
        </label>
        <label class="field">
          <span>{words.roomTopic}</span>
          <input
            name="topic"
            maxLength={120}
            autocomplete="off"
            value={topic.value}
            onInput={(event) => (topic.value = event.currentTarget.value)}
          />
        </label>
        <p class="problem" role="alert">
          {failure.value}
        </p>
        <div class="actions">
          <button type="button" class="button quiet" onClick={close}>
            {words.cancel}
          </button>
          <button class="button primary" disabled={!name.value.trim() || status.value !== "online"}>
            {words.create}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export function Settings() {
  const words = t();
  const wanted = useSignal(nick.value);
  const failure = useSignal("");
  const close = () => (dialog.value = "");
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  const keys: [string, string][] = [
    [mac ? "⌘ K" : "Ctrl K", words.keyFind],
    [mac ? "⌥ ↑ ↓" : "Alt ↑ ↓", words.keyNext],
    ["Enter", words.keySend],
    ["Shift Enter", words.keyLine],
    ["Esc", words.keyEsc],
  ];
  const save = async () => {
    try {
      await rename(wanted.value.trim());
      failure.value = "";
    } catch (error) {
      failure.value = reason(error);
    }
  };
  return (
    <Dialog title={words.settings} class="settings" onClose={close}>
      <h2>{words.settings}</h2>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        <label class="field">
          <span>{words.yourName}</span>
          <span class="with-avatar">
            <Avatar nick={wanted.value || "?"} />
            <input
              required
              name="nick"
              maxLength={32}
              autocomplete="nickname"
              value={wanted.value}
              onInput={(event) => (wanted.value = event.currentTarget.value)}
            />
            <button class="button" disabled={!wanted.value.trim() || wanted.value.trim() === nick.value}>
              {words.save}
            </button>
          </span>
        </label>
        <p class="problem" role="alert">
          {failure.value}
        </p>
      </form>
      <Choice label={words.languageLabel} value={language.value} options={LANGUAGES} onChoose={(value) => (language.value = value)} />
      <Choice
        label={words.appearance}
        value={theme.value}
        options={[["auto", words.themeAuto], ["light", words.themeLight], ["dark", words.themeDark]] as const}
        onChoose={(value) => (theme.value = value)}
      />
      <fieldset class="choice">
        <legend>{words.notifications}</legend>
        <label class="switch">
          <input
            type="checkbox"
            role="switch"
            checked={notify.value && permission.value === "granted"}
            disabled={permission.value === "unsupported" || permission.value === "denied"}
            onChange={(event) => void switchNotifications(event.currentTarget.checked)}
          />
          <span>{words.notifyOn}</span>
        </label>
        {permission.value === "denied" && <p class="hint">{words.notifyDenied}</p>}
        {permission.value === "unsupported" && <p class="hint">{words.notifyUnsupported}</p>}
      </fieldset>
      <section class="keys" aria-label={words.keyboard}>
        <h3>{words.keyboard}</h3>
        <dl>
          {keys.map(([key, what]) => (
            <div key={key}>
              <dt>{key.split(" ").map((part) => <kbd key={part}>{part}</kbd>)}</dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </section>
      <p class="small">
        <a href="LICENSES.txt" target="_blank" rel="noopener">
          {words.licences}
        </a>
      </p>
    </Dialog>
  );
}
