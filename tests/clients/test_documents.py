"""Generated documents in the hands of others: TypeScript's compiler, the schema of AsyncAPI, the official client."""

import asyncio
import datetime
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from msgspec import Struct

from faces.support.inside import SERVING
from madang import Server, Socket
from madang.contract import read
from madang.contract.asyncapi import document
from madang.contract.typescript import declarations
from support import contract as example
from support.npm import NODE

pytestmark = pytest.mark.node

PROGRAM = """
import { io, Socket } from "socket.io-client";
import type {
  AdminClientToServerEvents, AdminServerToClientEvents, Auth, Binary, ClientToServerEvents, Colour, InvalidArguments,
  Person, Photo, Record2, ServerToClientEvents,
} from "./events";

const auth: Auth = { token: "t", language: "ko" };
const socket: Socket<ServerToClientEvents, ClientToServerEvents> = io("http://localhost", { auth });
const admin: Socket<AdminServerToClientEvents, AdminClientToServerEvents> = io("/admin");

const ada: Person = { name: "Ada", friends: [{ name: "Grace" }] };
const blue: Colour = "blue";
const bytes: Binary = new Uint8Array(3);
const photo: Photo = { name: "x", data: bytes, colour: blue, "odd name": 1 };

socket.on("headline", (title, at) => { const upper: string = title.toUpperCase() + (at ?? ""); void upper; });
socket.on("your vote?", (options, answer) => answer(options.length ? 1 : 0));
socket.on("picture", (photo, movie, ...points) => {
  const x: number = points[0][0];
  void [photo.data, movie.title, x];
});

socket.emit("sign up", ada, (answer) => {
  if (typeof answer !== "string") { const error: InvalidArguments = answer; void error; }
});
socket.emit("sign up", ada, true, (answer) => void answer);
socket.emit("photo", photo);
socket.emit("photo", { name: "y", data: new ArrayBuffer(2) }, "tag", "another");
socket.emit("add", 1, 2.5, 3, (sum) => void sum);
socket.emit("both", { n: 1, colour: "red", inner: [] }, new Date().toISOString(), "id", (...answer) => {
  if (answer.length === 2) { const n: number = answer[0]; const who: Person = answer[1]; void [n, who]; }
});
socket.emit("maybe", { a: 1, b: null }, [1, "x"], (person) => { if (person && "name" in person) void person.name; });
socket.emit("maybe", {}, [1, "x"], 1, () => {});
socket.emit("pets", { type: "dog", name: "Rex" }, 2, [1, 1], "9.99", (points) => void points);
socket.emit("채팅 메시지", "안녕", (ok) => void ok);
socket.emit("untyped", { anything: true });
socket.timeout(1000).emit("sign up", ada, (error, answer) => void [error.message, answer]);

async function ask(): Promise<void> {
  const greeting: string | InvalidArguments = await socket.emitWithAck("sign up", ada);
  const again: string | InvalidArguments = await socket.timeout(5).emitWithAck("sign up", ada, true);
  const sum: number | InvalidArguments = await socket.emitWithAck("add", 1, 2);
  const kicked: boolean | InvalidArguments = await admin.emitWithAck("kick", "ada");
  if (typeof greeting !== "string") console.log(greeting.error.details[0].path);
  void [again, sum, kicked];
}
void ask;

// @ts-expect-error  the age is a number
socket.emit("sign up", { name: "Ada", age: "36" }, () => {});
// @ts-expect-error  a person has a name
const nobody: Person = {};
// @ts-expect-error  there is no such event
socket.emit("sign down");
// @ts-expect-error  there is no such event here
admin.emit("sign up", ada, () => {});
// @ts-expect-error  it carries a text
socket.on("headline", (title: number) => void title);
// @ts-expect-error  neither 0 nor 1
socket.on("your vote?", (options, answer) => answer(2));
// @ts-expect-error  green is no colour
const green: Colour = "green";
// @ts-expect-error  the name is missing
socket.emit("photo", { data: bytes });
// @ts-expect-error  a token is wanted
const empty: Auth = {};
// @ts-expect-error  the sum is a number
const text: Promise<string> = socket.emitWithAck("add", 1);
// @ts-expect-error  too many
socket.emit("채팅 메시지", "안녕", 5, () => {});
// @ts-expect-error  what was kept is no text
const record: Record2 = { kept: "yes" };
void [nobody, green, empty, text, record];
"""


def compiled(folder: Path, program: str) -> str:
    """What TypeScript's compiler says of a program beside the generated file."""
    (folder / "events.ts").write_text(declarations(read(example.io)))
    (folder / "program.ts").write_text(program)
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"]
    options += ["--skipLibCheck", "--noUnusedLocals", "--lib", "es2022,dom", "--types", ""]
    node = shutil.which("node")
    assert node is not None
    compiler = NODE / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        [node, str(compiler), *options, "program.ts"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert bool(done.returncode) == bool(done.stdout), done.stderr
    return done.stdout


def test_typescript_takes_what_is_right_and_nothing_else(node: str, tmp_path: Path) -> None:
    assert compiled(tmp_path, PROGRAM) == ""


def test_the_compiler_sees_what_is_wrong(node: str, tmp_path: Path) -> None:
    told = compiled(tmp_path, PROGRAM.replace("// @ts-expect-error", "//"))
    assert told.count("error TS") >= PROGRAM.count("@ts-expect-error")


def test_asyncapi_takes_the_document(node: str) -> None:
    path = NODE / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    validator = jsonschema.Draft7Validator(json.loads(path.read_text()))
    found: Any = json.loads(json.dumps(document(read(example.io))))
    assert [error.message for error in validator.iter_errors(found)] == []
    del found["info"]["title"]
    found["operations"]["main.connect"]["action"] = "ask"
    assert len(list(validator.iter_errors(found))) == 2


CLIENT = """
import { io } from "socket.io-client";
const socket = io(process.argv[2], { auth: { token: "t" }, transports: [process.argv[3]] });
const answers = [
  await socket.emitWithAck("sign up", { name: "Ada", age: 36, friends: [{ name: "Grace" }] }),
  await socket.emitWithAck("sign up", { name: "Ada", age: "36" }),
  await socket.emitWithAck("sign up"),
  await socket.emitWithAck("photo", { name: "x", data: "aGk=" }),
  await socket.emitWithAck("photo", { name: "x", data: Buffer.from("hi") }, "tag", 5),
  await socket.emitWithAck("add", 1, 2.5),
  await new Promise((resolve) => socket.emit("both", { n: -1, colour: "green" }, "now", 5, (...all) => resolve(all))),
];
socket.disconnect();
const stranger = io(process.argv[2] + "/admin", { forceNew: true, transports: [process.argv[3]] });
const error = await new Promise((resolve) => stranger.on("connect_error", resolve));
stranger.disconnect();
console.log(JSON.stringify([...answers, { message: error.message, data: error.data }]));
"""


PACKED = """
import { io } from "socket.io-client";
import * as parser from "socket.io-msgpack-parser";
const socket = io(process.argv[2], { parser, transports: [process.argv[3]] });
const answers = [
  await socket.emitWithAck("photo", { name: "x", data: Buffer.from("hi"), at: "2026-01-02T03:04:05Z" }),
  await socket.emitWithAck("photo", { name: "x", data: "aGk=", at: "now" }),
  await socket.emitWithAck("photo"),
];
socket.disconnect();
console.log(JSON.stringify(answers));
"""


class Packed(Struct):
    name: str
    data: bytes
    at: datetime.datetime


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_what_the_official_client_hears_with_msgpack(node: str, transport: str, tmp_path: Path) -> None:
    packed = Server(parser="msgpack")

    @packed.event
    def photo(socket: Socket, photo: Packed) -> str:
        return f"{photo.data.decode()} {photo.at.year}"

    (tmp_path / "client.mjs").write_text(PACKED)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    async with SERVING["fast"](packed) as port:
        process = await asyncio.create_subprocess_exec(
            node, "client.mjs", f"http://127.0.0.1:{port}", transport, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    good, wrong, few = json.loads(output)
    assert good == "hi 2026"
    assert wrong["error"]["details"] == [{"path": [0, "data"], "message": "Expected `bytes`, got `str`"}]
    assert few["error"]["message"] == "arguments[0]: The argument is missing"


@pytest.mark.parametrize("face", SERVING)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_what_the_official_client_hears(node: str, face: str, transport: str, tmp_path: Path) -> None:
    (tmp_path / "client.mjs").write_text(CLIENT)
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    async with SERVING[face](example.io) as port:
        process = await asyncio.create_subprocess_exec(
            node, "client.mjs", f"http://127.0.0.1:{port}", transport, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    good, wrong, few, text, attached, total, several, refused = json.loads(output)
    assert good == "Welcome, Ada"
    assert wrong == {
        "error": {
            "code": "invalid_arguments",
            "message": "arguments[0].age: Expected `int`, got `str`",
            "event": "sign up",
            "details": [{"path": [0, "age"], "message": "Expected `int`, got `str`"}],
        }
    }
    assert few["error"]["details"] == [{"path": [0], "message": "The argument is missing"}]
    assert text["error"]["details"] == [{"path": [0, "data"], "message": "Expected `bytes`, got `str`"}]
    assert attached["error"]["details"] == [{"path": [2], "message": "Expected `str`, got `int`"}]
    assert total == 3.5
    assert [detail["path"] for detail in several[0]["error"]["details"]] == [[0, "n"], [0, "colour"], [1], [2]]
    assert refused["message"] == "Invalid auth"
    assert refused["data"]["details"] == [{"path": [], "message": "Object missing required field `token`"}]
