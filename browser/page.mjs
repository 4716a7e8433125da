// How a page of ours is built: hashed assets, an index.html that names them, the licences of whatever was bundled, and
// the files of public/ as they are. Each page's own esbuild does it, so that one lock file pins all that a page is made of.
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** A package's licence: a file of its own, or a part of its README. */
async function licence(folder) {
  const files = await readdir(folder);
  const [own, readme] = [/^licen[cs]e/i, /^readme/i].map((name) => files.find((file) => name.test(file)));
  const text = (own ?? readme) ? await readFile(path.join(folder, own ?? readme), "utf8") : "";
  const told = own ? text : /^#+ *licen[cs]e.*$/im.exec(text);
  if (!told) return "(no licence file in the package)";
  return own ? told : text.slice(told.index + told[0].length).split(/^#/m)[0];
}

/** `import url from "package/file.js?file"`: the file goes beside the bundle as it is, for who wants it. */
const files = {
  name: "files",
  setup(build) {
    build.onResolve({ filter: /\?file$/ }, async ({ path: name, resolveDir, kind }) => {
      const found = await build.resolve(name.slice(0, -"?file".length), { resolveDir, kind });
      return { path: found.path, namespace: "file-as-it-is", errors: found.errors };
    });
    build.onLoad({ filter: /.*/, namespace: "file-as-it-is" }, async ({ path: file }) => ({
      contents: await readFile(file),
      loader: "file",
    }));
  },
};

/** The licence texts of every package that ended up in the bundle. */
async function licences(here, inputs) {
  const packages = new Set(
    Object.keys(inputs)
      .map((file) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1])
      .filter(Boolean),
  );
  const texts = [];
  for (const name of [...packages].sort()) {
    const folder = path.join(here, "node_modules", name);
    const { version } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
    const text = await licence(folder);
    texts.push(`${name} ${version}\n${"=".repeat(name.length + version.length + 1)}\n\n${text.trim()}\n`);
  }
  return texts.join("\n\n");
}

const page = (here, out) => ({
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
      await writeFile(path.join(out, "LICENSES.txt"), await licences(here, metafile.inputs));
      await writeFile(path.join(out, "index.html"), html.replace("@js", named(".js")).replace("@css", named(".css")));
      for (const [file, { bytes }] of Object.entries(metafile.outputs)) console.log(path.basename(file), bytes);
    });
  },
});

/** Build the page whose build script this is called by; with --watch, again whenever a source changes.
 *
 * @param {string} script the script's own `import.meta.url`
 * @param {typeof import("esbuild")} esbuild
 */
export async function buildPage(script, esbuild) {
  const here = path.dirname(fileURLToPath(script));
  const out = path.join(here, `../../src/madang/apps/${path.basename(here)}/static`);
  const context = await esbuild.context({
    absWorkingDir: here,
    entryPoints: { app: "src/main.tsx" },
    entryNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
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
    plugins: [files, page(here, out)],
  });

  if (process.argv.includes("--watch")) {
    await context.watch();
  } else {
    await context.rebuild();
    await context.dispose();
  }
}
