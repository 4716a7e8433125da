import { effect, signal } from "@preact/signals";
import { render } from "preact";
import "../styles/main.css";
import { connect } from "./connection.ts";
import "./notify.ts";
import "./outbox.ts";
import { nick, theme } from "./settings.ts";
import { App } from "./ui/App.tsx";

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(dark.matches);
dark.addEventListener("change", () => (systemIsDark.value = dark.matches));
effect(() => {
  const now = theme.value === "auto" ? (systemIsDark.value ? "dark" : "light") : theme.value;
  document.documentElement.dataset["theme"] = now;
});

render(<App />, document.getElementById("app")!);
if (nick.peek()) connect();
