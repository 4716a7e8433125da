// What `socket.io-msgpack-parser` writes, as JSON: {name: hexadecimal digits}. `tests/unit/parsers/msgpack-golden.json`
// is a copy, so that the unit tests need no Node.js; `tests/clients/test_msgpack.py` compares the two.
//
//   node msgpack-golden.mjs > ../../unit/parsers/msgpack-golden.json

import parser from "socket.io-msgpack-parser";

const event = (...args) => ({ type: 2, data: ["e", ...args], nsp: "/" });
const filled = (size) => Uint8Array.from({ length: size }, (_, index) => index % 251);
const counted = (size) => Object.fromEntries(Array.from({ length: size }, (_, index) => [`k${index}`, index]));

const packets = {
  connect: { type: 0, nsp: "/" },
  "connect, auth undefined": { type: 0, data: undefined, nsp: "/" },
  "connect with auth": { type: 0, data: { token: "123" }, nsp: "/admin" },
  "connect answered": { type: 0, data: { sid: "oSO0OpakMV_3jnilAAAA" }, nsp: "/" },
  "connect answered by Node.js": { type: 0, data: { sid: "oSO0OpakMV_3jnilAAAA", pid: undefined }, nsp: "/" },
  disconnect: { type: 1, nsp: "/" },
  "disconnect, data undefined": { type: 1, data: undefined, nsp: "/admin" },
  event: { type: 2, data: ["hello", 1], nsp: "/" },
  "event with an id": { type: 2, data: ["hello"], id: 12, nsp: "/" },
  "event, id undefined": { type: 2, data: ["hello"], id: undefined, nsp: "/" },
  "event of a client": { type: 2, data: ["hello"], options: { compress: true }, id: 0, nsp: "/방" },
  ack: { type: 3, data: ["ok"], id: 12, nsp: "/" },
  "ack of nothing": { type: 3, data: [], id: 999_999_999_999_999, nsp: "/admin" },
  "connect error": { type: 4, data: { message: "not authorized" }, nsp: "/" },
  "connect error with data": { type: 4, data: { message: "no", data: { code: 1 } }, nsp: "/" },
  simple: event(null, true, false, "", "마당 🎈", [], {}, [[[]]], { "": null, a: { b: [1] } }),
  undefined: event(undefined, { gone: undefined }, [undefined]),
  "small integers": event(0, 1, 127, 128, 255, 256, 65535, 65536, 4294967295),
  "negative integers": event(-1, -32, -33, -128, -129, -32768, -32769, -2147483648),
  "large integers": event(4294967296, Number.MAX_SAFE_INTEGER, -2147483649, Number.MIN_SAFE_INTEGER),
  floats: event(0.5, -1.25, 1.7976931348623157e308 / 3e300, 5e-324, NaN, Infinity, -Infinity),
  texts: event("x".repeat(31), "x".repeat(32), "x".repeat(255), "x".repeat(256)),
  "half of a pair": event("\ud83c" + "x".repeat(40)),
  lists: event(Array(15).fill(1), Array(16).fill(1)),
  maps: event(counted(15), counted(16)),
  dates: event(new Date(0), new Date(961_000_000_123), new Date(-1), new Date("9999-12-31T23:59:59.999Z")),
  "the first date of Python": event(new Date("0001-01-01T00:00:00Z")),
  "an invalid date": event(new Date(NaN)),
  "a far date": event(new Date(8.64e15)),
  buffers: event(...[0, 1, 8, 31, 255, 256].map((size) => Buffer.from(filled(size)))),
  "array buffers": event(...[0, 1, 2, 4, 8, 16, 255, 256].map((size) => filled(size).buffer)),
  "typed arrays": event(Uint8Array.of(7), Float64Array.of(1.5), new DataView(filled(3).buffer)),
  "array buffers among look-alikes": event(
    "\x01\x00\u00c7", { "c7": filled(8).buffer }, Buffer.of(0xc7, 1, 0, 9), [filled(1).buffer, new Date(1)],
    Buffer.concat([Buffer.from(filled(300)), Buffer.of(0xc7, 8, 0)]), "x".repeat(40), undefined, filled(8).buffer,
  ),
};

const encoder = new parser.Encoder();
const written = {};
for (const [name, packet] of Object.entries(packets)) {
  const [frame, ...more] = encoder.encode(packet);
  if (more.length) throw new Error(`${name}: ${more.length} attachments`);
  written[name] = frame.toString("hex");
}
console.log(JSON.stringify(written, null, 1));
