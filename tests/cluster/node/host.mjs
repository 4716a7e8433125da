// A process that hosts members and emitters, as many as it is told to. See lines.mjs for how.
//
//   {"id": 1, "do": "start", "what": "member", ...}     its value has "guest", a number, and for a member its "port"
//   {"id": 2, "do": "emit", "guest": 1, ...}            an order for this one
//   {"id": 3, "do": "stop", "guest": 1}
//
// It ends with its standard input, after all that it hosts have said farewell to the others.

import { obey, tell, tellOfCrashes } from "./lines.mjs";

tellOfCrashes();
const kinds = {
  member: async () => (await import("./member.mjs")).member,
  emitter: async () => (await import("./emitter.mjs")).emitter,
};
const guests = new Map();
let last = 0;

/** Packages differ in how connections are closed. What is on its way is sent before. */
async function close(connection) {
  if (connection.end && connection.totalCount !== undefined) await connection.end(); // a pool of pg
  else await connection.quit().catch(() => connection.disconnect()); // an engine that is away can't say farewell
}

async function start(told) {
  const number = ++last;
  const guest = await (await kinds[told.what]())(told, (what) => tell({ ...what, guest: number }));
  guests.set(number, guest);
  return { guest: number, ...guest.facts };
}

async function stop(number) {
  const guest = guests.get(number);
  guests.delete(number);
  await guest.close();
  await Promise.all(guest.connections.map(close));
  return null;
}

obey(
  (told) => {
    if (told.do === "start") return start(told);
    if (told.do === "stop") return stop(told.guest);
    return guests.get(told.guest).orders[told.do](told);
  },
  async () => {
    await Promise.all([...guests.keys()].map(stop));
    process.exit(0); // adapters have connections of their own
  },
);
