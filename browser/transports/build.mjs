// Builds the package into dist/: the module, the same minified, source maps, and declarations; and all of it that
// Madang's servers give to pages, with the official client, into src/madang/browser/static.
// With --tests: the tests, as modules that Node.js can run, into build/test.
import * as esbuild from "esbuild";
import { execFileSync } from "node:child_process";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const dist = path.join(here, "dist");
const served = path.join(here, "../../src/madang/browser/static");
const client = path.join(here, "node_modules/socket.io-client");

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: ["es2022", "chrome111", "firefox113", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};

async function buildTests() {
  const out = path.join(here, "build/test");
  await rm(out, { recursive: true, force: true });
  const files = (await readdir(path.join(here, "test"))).filter((file) => file.endsWith(".test.ts"));
  const entryPoints = files.map((file) => `test/${file}`);
  await esbuild.build({ ...common, entryPoints, outdir: out, target: "node20", platform: "node", packages: "external", outExtension: { ".js": ".mjs" } });
}

async function buildPackage() {
  await rm(dist, { recursive: true, force: true });
  const banner = { js: `// madang-transports ${(await manifest(here)).version}, MIT licence` };
  for (const [outfile, minify] of [["dist/transports.js", false], ["dist/transports.min.js", true]]) {
    await esbuild.build({ ...common, entryPoints: ["src/index.ts"], outfile, minify, banner, sourcemap: true });
  }
  // Only what the package's types consist of, and with names that every resolution finds.
  const declarations = path.join(here, "build/types");
  await rm(declarations, { recursive: true, force: true });
  const tsc = path.join(here, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--noEmit", "false", "--emitDeclarationOnly", "--rootDir", "src", "--outDir", declarations], { cwd: here, stdio: "inherit" });
  for (const name of ["index.d.ts", "types.d.ts"]) {
    const text = await readFile(path.join(declarations, name), "utf8");
    await writeFile(path.join(dist, name), text.replaceAll(/(from "\.\/\w+)\.ts"/g, '$1.js"'));
  }
}

async function serve() {
  await rm(served, { recursive: true, force: true });
  await mkdir(served, { recursive: true });
  for (const name of ["transports.js", "transports.js.map", "transports.min.js", "transports.min.js.map"]) {
    await cp(path.join(dist, name), path.join(served, name));
  }
  for (const name of await readdir(path.join(client, "dist"))) await cp(path.join(client, "dist", name), path.join(served, name));
  const { name, version } = await manifest(client);
  const title = `${name} ${version}`;
  const licence = (await readFile(path.join(client, "LICENSE"), "utf8")).trim();
  await writeFile(path.join(served, "LICENSES.txt"), `${title}\n${"=".repeat(title.length)}\n\n${licence}\n`);
}

async function manifest(folder) {
  return JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
}

if (process.argv.includes("--tests")) {
  await buildTests();
} else {
  await buildPackage();
  if (!process.argv.includes("--package")) await serve();
}
