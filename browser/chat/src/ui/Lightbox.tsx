import { t } from "../i18n.ts";
import { bytes } from "../text.ts";
import { Dialog, IconButton } from "./bits.tsx";
import { pictures } from "./view.ts";

/** One picture as large as the window allows; the arrow keys show the others of the room. */
export function Lightbox() {
  const { all, at } = pictures.value!;
  const file = all[at];
  if (!file) return null;
  const close = () => (pictures.value = null);
  const step = (by: number) => {
    const next = at + by;
    if (next >= 0 && next < all.length) pictures.value = { all, at: next };
  };
  return (
    <Dialog title={t().picture(file.name)} class="lightbox" onClose={close}>
      <figure
        onKeyDown={(event) => {
          if (event.key === "ArrowLeft") step(-1);
          else if (event.key === "ArrowRight") step(1);
        }}
        onClick={(event) => event.target === event.currentTarget && close()}
      >
        <IconButton icon="left" label={t().previous} class="step" disabled={at === 0} onClick={() => step(-1)} />
        <img src={`api/files/${file.id}`} alt={file.name} width={file.width} height={file.height} />
        <IconButton icon="right" label={t().next} class="step" disabled={at === all.length - 1} onClick={() => step(1)} />
        <figcaption>
          <span>{file.name}</span>
          <span class="quiet">{`${file.width} × ${file.height} · ${bytes(file.size)}`}</span>
          <a class="button quiet" href={`api/files/${file.id}?download`} download={file.name}>
            {t().download}
          </a>
        </figcaption>
      </figure>
    </Dialog>
  );
}
