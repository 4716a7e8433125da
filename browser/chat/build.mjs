import * as esbuild from "esbuild";
import { buildPage } from "../page.mjs";

await buildPage(import.meta.url, esbuild);
