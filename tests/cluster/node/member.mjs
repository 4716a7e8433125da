// A member of a cluster: the official server with an official adapter.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { another, postgres, redis } from "./engines.mjs";
import { chosen } from "./lines.mjs";

const load = (name) => import(`@socket.io/${name}`);

async function classic(name, engine, options, tell, create = "createAdapter") {
  const client = await redis(engine, tell);
  const other = await another(client, tell);
  return [(await load(name))[create](client, other, options), client, other];
}

async function streams(name, engine, options, tell) {
  const client = await redis(engine, tell);
  return [(await load(name)).createAdapter(client, options), client];
}

async function overPostgres(name, engine, options, tell) {
  const pool = await postgres(engine, options, tell);
  return [(await load(name)).createAdapter(pool, options), pool];
}

/** Each gives an adapter, and the connections that are to be closed at the end. */
const adapters = {
  classic: (...told) => classic("redis-adapter", ...told),
  "classic-7": (...told) => classic("redis-adapter-7", ...told),
  sharded: (...told) => classic("redis-adapter", ...told, "createShardedAdapter"),
  streams: (...told) => streams("redis-streams-adapter", ...told),
  "streams-0.2": (...told) => streams("redis-streams-adapter-0.2", ...told),
  postgres: (...told) => overPostgres("postgres-adapter", ...told),
  "postgres-0.4": (...told) => overPostgres("postgres-adapter-0.4", ...told),
  none: async () => [undefined],
};

const details = ({ id, handshake, rooms, data }) => ({ id, handshake, rooms: [...rooms], data });

/**
 * `adapter`: one of those above; `engine`: what engines.mjs connects to; `options`: the adapter's; `recovery`: what the
 * server's connectionStateRecovery is; `server`: more of the server's options.
 */
export async function member({ adapter: kind, engine, options, recovery, server, port }, tell) {
  const [adapter, ...connections] = await adapters[kind](engine, options, tell);
  const http = createServer();
  const recovering = recovery ? { connectionStateRecovery: recovery } : {};
  const io = new Server(http, { ...(adapter ? { adapter } : {}), ...recovering, ...server });

  /** What a client can ask of its socket. */
  function listen(socket) {
    const { id, nsp } = socket;
    tell({ event: "connection", namespace: nsp.name, id, recovered: socket.recovered });
    socket.on("disconnect", (reason) => tell({ event: "disconnect", namespace: nsp.name, id, reason }));
    socket.on("join", async (rooms, answer) => (await socket.join(rooms), answer?.([...socket.rooms])));
    socket.on("leave", async (room, answer) => (await socket.leave(room), answer?.([...socket.rooms])));
    socket.on("rooms", (answer) => answer([...socket.rooms]));
    socket.on("data", (data, answer) => (Object.assign(socket.data, data), answer?.(socket.data)));
    socket.on("echo", (...args) => args.pop()(...args));
    socket.on("tell", (told, ...args) => chosen(socket, told).emit(...args)); // all but this one
  }

  function prepare(namespace) {
    namespace.on("connection", listen);
  }
  prepare(io.of("/"));
  io.on("new_namespace", prepare);
  io.of(/^\/./); // any namespace that a client wants

  const of = ({ namespace }) => io.of(namespace);
  const orders = {
    open: (told) => (of(told), null),
    emit: (told) => (chosen(of(told), told).emit(...told.args), null),
    emitWithAck: (told) => chosen(of(told), told).emitWithAck(...told.args),
    fetchSockets: async (told) => (await chosen(of(told), told).fetchSockets()).map(details),
    socketsJoin: (told) => (chosen(of(told), told).socketsJoin(told.rooms), null),
    socketsLeave: (told) => (chosen(of(told), told).socketsLeave(told.rooms), null),
    disconnectSockets: (told) => (chosen(of(told), told).disconnectSockets(told.close), null),
    serverSideEmit: (told) => (of(told).serverSideEmit(...told.args), null),
    serverSideEmitWithAck: (told) => of(told).serverSideEmitWithAck(...told.args),
    /** Tell of an event of other servers, and answer it if there is something to answer. */
    on: (told) => {
      of(told).on(told.event, (...args) => {
        const answer = typeof args.at(-1) === "function" ? args.pop() : undefined;
        tell({ event: "server-side", namespace: told.namespace, name: told.event, args, asked: answer !== undefined });
        if (answer && "answer" in told) answer(told.answer);
      });
      return null;
    },
    serverCount: (told) => of(told).adapter.serverCount(),
    sockets: (told) => of(told).adapter.sockets(new Set(told.rooms)),
    allRooms: (told) => of(told).adapter.allRooms(), // the classic adapter's own
    /** This server's own rooms, each with its sockets. */
    local: (told) => Object.fromEntries([...of(told).adapter.rooms].map(([room, ids]) => [room, [...ids]])),
    /** One method of one socket anywhere, as fetchSockets gives it. */
    remote: async (told) => {
      const [socket] = await of(told).in(told.socket).fetchSockets();
      if (socket === undefined) throw new Error(`no socket ${told.socket}`);
      if (told.method === "emitWithAck") return socket.timeout(told.timeout).emitWithAck(...told.args);
      return (socket[told.method](...told.args), null);
    },
    /** End a connection of this server's under its socket. */
    cut: (told) => (of(told).sockets.get(told.socket).conn.close(), null),
    /** What the adapter calls itself. */
    uid: (told) => of(told).adapter.uid,
  };

  await new Promise((listening) => http.listen(port, "127.0.0.1", listening));
  return { orders, connections, close: () => io.close(), facts: { port: http.address().port } };
}
