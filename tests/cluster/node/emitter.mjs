// An official emitter, which emits to the clients of a cluster from outside.

import { postgres, redis } from "./engines.mjs";
import { chosen } from "./lines.mjs";

/** Each gives what makes the emitter of a namespace, and its connection. */
const emitters = {
  redis: async (engine, options, tell) => {
    const client = await redis(engine, tell);
    const { Emitter } = await import("@socket.io/redis-emitter");
    return [(namespace) => new Emitter(client, options, namespace), client];
  },
  postgres: async (engine, options, tell) => {
    const pool = await postgres(engine, options, tell);
    const { Emitter } = await import("@socket.io/postgres-emitter");
    return [(namespace) => new Emitter(pool, namespace, options), pool]; // its of() forgets the options
  },
};

/** `emitter`: "redis", for the classic adapter, or "postgres"; `engine`: as in engines.mjs; `options`: the emitter's. */
export async function emitter({ emitter: kind, engine, options }, tell) {
  const [make, ...connections] = await emitters[kind](engine, options, tell);
  const of = ({ namespace }) => make(namespace);
  const orders = {
    emit: async (told) => (await chosen(of(told), told).emit(...told.args), null),
    socketsJoin: async (told) => (await chosen(of(told), told).socketsJoin(told.rooms), null),
    socketsLeave: async (told) => (await chosen(of(told), told).socketsLeave(told.rooms), null),
    disconnectSockets: async (told) => (await chosen(of(told), told).disconnectSockets(told.close), null),
    serverSideEmit: async (told) => (await of(told).serverSideEmit(...told.args), null),
  };
  return { orders, connections, close: () => {}, facts: {} };
}
