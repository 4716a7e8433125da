// Builds the page into src/madang/apps/laboratory/static: hashed assets, an index.html that names them, the licences of
// whatever was bundled, and the files of public/ as they are.
import * as esbuild from "esbuild";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.join(here, "../../src/madang/apps/laboratory/static");

/** The licence texts of every package that ended up in the bundle. */
async function licences(inputs) {
  const packages = new Set(
    Object.keys(inputs)
      .map((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1])
      .filter(Boolean),
  );
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = path.join(here, "node_modules", name);
    const { version } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? await readFile(path.join(folder, file), "utf8") : "(no licence file in the package)";
    texts.push(`${name} ${version}\n${"=".repeat(name.length + version.length + 1)}\n\n${text.trim()}\n`);
  }
  return texts.join("\n\n");
}

const page = {
  name: "page",
  setup(build) {
    build.onStart(() => rm(path.join(out, "assets"), { recursive: true, force: true }));
    build.onEnd(async ({ errors, metafile }) => {
      if (errors.length) return;
      const names = Object.keys(metafile.outputs).map((file) => path.basename(file));
      const named = (ending) => `assets/${names.find((name) => name.startsWith("app-") && name.endsWith(ending))}`;
      const html = await readFile(path.join(here, "index.html"), "utf8");
      await mkdir(out, { recursive: true });
      await cp(path.join(here, "public"), out, { recursive: true });
      await writeFile(path.join(out, "LICENSES.txt"), await licences(metafile.inputs));
      await writeFile(path.join(out, "index.html"), html.replace("@js", named(".js")).replace("@css", named(".css")));
      for (const [file, { bytes }] of Object.entries(metafile.outputs)) console.log(path.basename(file), bytes);
    });
  },
};

const context = await esbuild.context({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  entryNames: "[name]-[hash]",
  outdir: path.join(out, "assets"),
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  logLevel: "warning",
  plugins: [page],
});

if (process.argv.includes("--watch")) {
  await context.watch();
} else {
  await context.rebuild();
  await context.dispose();
}
