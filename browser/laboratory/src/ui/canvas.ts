/** A canvas as large as its place, at the screen's resolution. */

export interface Place {
  readonly ctx: CanvasRenderingContext2D;
  readonly width: number;
  readonly height: number;
}

/** Calls back when the place is another; ask for it with the function that comes back, as often as you draw. */
export function placeOf(canvas: HTMLCanvasElement, changed: () => void): { place: () => Place | null; forget: () => void } {
  const ctx = canvas.getContext("2d")!;
  let width = canvas.clientWidth;
  let height = canvas.clientHeight;
  // The size is remembered: to ask for it in each frame would lay out the page in each frame.
  const observer = new ResizeObserver(([entry]) => {
    ({ width, height } = entry!.contentRect);
    changed();
  });
  observer.observe(canvas);
  return {
    place() {
      if (!width || !height) return null;
      const ratio = Math.min(devicePixelRatio || 1, 3);
      const wide = Math.round(width * ratio);
      const tall = Math.round(height * ratio);
      if (canvas.width !== wide || canvas.height !== tall) {
        canvas.width = wide;
        canvas.height = tall;
      }
      ctx.setTransform(wide / width, 0, 0, tall / height, 0, 0);
      return { ctx, width, height };
    },
    forget: () => observer.disconnect(),
  };
}
