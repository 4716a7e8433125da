/** A stream of parts in one HTTP answer, `multipart/x-mixed-replace`, as servers pushed before all else; bytes as they are. */

import { binary, decode } from "./packets.ts";
import { MalformedStream, Parts } from "./parts.ts";
import { Stream } from "./stream.ts";

export class Multipart extends Stream {
  get name(): string {
    return "multipart";
  }

  protected ask(): void {
    void this.pull("multipart/x-mixed-replace", (contentType) => {
      const boundary = /;\s*boundary="?([^";]+)"?/i.exec(contentType)?.[1];
      if (boundary === undefined) throw new MalformedStream(`no boundary in ${contentType}`);
      const text = new TextDecoder("utf-8", { ignoreBOM: true });
      return new Parts(boundary, (type, bytes) => {
        if (type.startsWith("application/octet-stream")) this.taken(binary(bytes, this.binaryType));
        else this.taken(decode(text.decode(bytes), this.binaryType));
      });
    });
  }
}
