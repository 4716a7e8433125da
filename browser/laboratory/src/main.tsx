import { effect, signal } from "@preact/signals";
import { render } from "preact";
import "../styles/main.css";
import { theme } from "./settings.ts";
import { App } from "./ui/App.tsx";
import { refreshPalette } from "./ui/palette.ts";

const dark = matchMedia("(prefers-color-scheme: dark)");
const systemIsDark = signal(dark.matches);
dark.addEventListener("change", () => (systemIsDark.value = dark.matches));
effect(() => {
  const now = theme.value === "auto" ? (systemIsDark.value ? "dark" : "light") : theme.value;
  document.documentElement.dataset["theme"] = now;
  refreshPalette();
});

render(<App />, document.getElementById("app")!);
