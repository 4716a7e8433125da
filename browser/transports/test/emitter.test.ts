import assert from "node:assert/strict";
import { test } from "node:test";
import { Emitter as Official } from "@socket.io/component-emitter";
import { Emitter } from "../src/emitter.ts";

/** One story, told to ours and to the one that the engine is used to. */
function story(emitter: Pick<Emitter, "on" | "once" | "off" | "emit" | "removeListener" | "removeAllListeners" | "hasListeners">): unknown[] {
  const heard: unknown[] = [];
  const hear = (who: string) => (...args: unknown[]) => void heard.push([who, ...args]);
  const [one, two, three] = [hear("one"), hear("two"), hear("three")];
  assert.equal(emitter.on("a", one).once("a", two).on("b", three), emitter);
  emitter.emit("a", 1, 2).emit("a", 3);
  emitter.once("a", three).removeListener("a", three).off("a", three);
  emitter.emit("a", 4);
  emitter.on("a", one).off("a", one); // of two that are the same, one
  emitter.emit("a", 5);
  // who comes or goes while an event is told
  emitter.on("c", () => void emitter.off("c", two).on("c", three)).on("c", two);
  emitter.emit("c", 6).emit("c", 7);
  emitter.once("d", () => void emitter.emit("d", "inner")).on("d", one).emit("d", "outer");
  emitter.on("e", () => void emitter.removeAllListeners()).on("e", one).emit("e");
  heard.push(emitter.hasListeners("a"), emitter.hasListeners("e"), emitter.hasListeners("never"));
  emitter.on("f", one).on("g", one).removeAllListeners("f").emit("f").emit("g", 8);
  return heard;
}

test("it tells the same story as the emitter of the official client", () => {
  const heard = story(new Emitter());
  assert.deepEqual(heard, story(new Official() as unknown as Emitter));
  assert.ok(heard.length > 10);
});

test("what a listener throws comes to who emits, as with the official one", () => {
  for (const emitter of [new Emitter(), new Official() as unknown as Emitter]) {
    emitter.on("x", () => {
      throw new Error("oops");
    });
    assert.throws(() => emitter.emit("x"), /oops/);
  }
});
