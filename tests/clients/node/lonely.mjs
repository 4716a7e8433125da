// One client in a process of its own, to be stopped or killed by a scenario. Prints its id when connected.
// Arguments: package, url, transports (JSON), and the package of a parser, if it isn't the client's own.

const [library, url, transports, parser] = process.argv.slice(2);
const { io } = await import(library);
const other = parser ? { parser: (await import(parser)).default } : {};
const socket = io(url, { transports: JSON.parse(transports), reconnection: false, ...other });
socket.on("connect_error", (error) => {
  console.error(error);
  process.exit(1);
});
socket.on("connect", () => {
  const { engine } = socket.io;
  const tell = () => socket.emit("who am i", (who) => console.log(JSON.stringify(who)));
  if (engine.transport.name === JSON.parse(transports).at(-1)) tell();
  else engine.once("upgrade", tell);
});
