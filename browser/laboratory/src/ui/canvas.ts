/** A canvas as large as its place, at the screen's resolution. */

/** Returns the context, scaled to CSS pixels, and the size in them; null while it has no place. */
export function fit(canvas: HTMLCanvasElement): { ctx: CanvasRenderingContext2D; width: number; height: number } | null {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const wide = Math.round(width * ratio);
  const tall = Math.round(height * ratio);
  if (canvas.width !== wide || canvas.height !== tall) {
    canvas.width = wide;
    canvas.height = tall;
  }
  const ctx = canvas.getContext("2d")!;
  ctx.setTransform(wide / width, 0, 0, tall / height, 0, 0);
  return { ctx, width, height };
}
