// Connections to the engines, made with the packages that the official adapters are made for. To load these takes longer
// than all else, so each is loaded when it is wanted.

import { readFileSync } from "node:fs";

/** An engine that is away is told; the packages connect again by themselves. */
function watched(client, tell) {
  client.on("error", (error) => tell({ event: "engine", message: error.message }));
  return client;
}

/**
 * A connected client of Redis.
 *
 * `url`: of a Redis, or of one of a cluster's; `client`: "redis", "cluster" or "sentinel"; `ca`: a file, for TLS;
 * `sentinels`: [[host, port], ...], with the `name` of the master and its `password`.
 */
export async function redis({ url, client = "redis", ca, sentinels, name, password }, tell) {
  if (client === "sentinel") {
    const { Redis } = await import("ioredis");
    const found = sentinels.map(([host, port]) => ({ host, port }));
    return watched(new Redis({ sentinels: found, name, password, maxRetriesPerRequest: null }), tell);
  }
  const { createClient, createCluster } = await import("redis");
  const socket = { reconnectStrategy: 50, ...(ca ? { tls: true, ca: readFileSync(ca) } : {}) };
  if (client === "cluster") {
    const { username, password } = new URL(url);
    const defaults = { socket, ...(username ? { username } : {}), ...(password ? { password } : {}) };
    const cluster = watched(createCluster({ rootNodes: [{ url }], defaults }), tell);
    await cluster.connect();
    return cluster;
  }
  const one = watched(createClient({ url, socket }), tell);
  await one.connect();
  return one;
}

/** Another connection of the same kind. */
export async function another(client, tell) {
  const found = watched(client.duplicate(), tell);
  if (found.status === undefined) await found.connect(); // ioredis does it by itself
  return found;
}

/** A pool of connections to PostgreSQL, with the table for what is too large for a notification. */
export async function postgres({ url, ca }, { tableName = "socket_io_attachments" }, tell) {
  const { default: pg } = await import("pg");
  const pool = watched(new pg.Pool({ connectionString: url, ssl: ca ? { ca: readFileSync(ca) } : false }), tell);
  const columns = "id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea";
  // Several that make it at the same time would fail, IF NOT EXISTS or not; the lock ends with the query.
  await pool.query(`SELECT pg_advisory_xact_lock(1); CREATE TABLE IF NOT EXISTS "${tableName}" (${columns})`);
  return pool;
}
