// What is wrong with a page's layout: texts of pictures over each other, cut off or too small, blocks over each other,
// text clipped or off the page. A list of sentences, empty where all is well.
() => {
  const faults = [];
  const box = (e) => e.getBoundingClientRect();
  const seen = (e) => box(e).width > 0 && box(e).height > 0;
  const name = (e) => `${(e.closest("[id]") || {}).id} ${e.tagName.toLowerCase()} ${e.textContent.trim().slice(0, 40)}`;
  const common = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) *
    Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const area = (r) => r.width * r.height;
  const figures = [...document.querySelectorAll(".fig")];
  for (const figure of figures) {
    const drawn = [...figure.querySelectorAll("svg")].filter(seen);
    if (drawn.length !== 1) faults.push(`${drawn.length} drawings shown: ${name(figure)}`);
    if (!drawn.length) continue;
    const frame = box(drawn[0]);
    if (!drawn[0].querySelector("path, rect, circle, image")) faults.push(`empty: ${name(figure)}`);
    const texts = [...drawn[0].querySelectorAll("text")].map((t) => [t, box(t)]);
    texts.forEach(([text, r], i) => {
      if (r.left < frame.left - 4 || r.right > frame.right + 12 || r.top < frame.top - 4 || r.bottom > frame.bottom + 4)
        faults.push(`cut off: ${name(text)}`);
      if (r.height < 10.5) faults.push(`too small: ${name(text)}`);
      for (const [other, o] of texts.slice(i + 1))
        if (common(r, o) > 0.2 * Math.min(area(r), area(o))) faults.push(`text over text: ${name(text)} / ${other.textContent}`);
    });
  }
  const blocks = "section, figure, .table, .cap, figcaption, h1, h2, h3, p, ul, dl, details, .finder, .equations";
  for (const parent of document.querySelectorAll("body, main, main *")) {
    const inside = [...parent.children].filter((e) => e.matches(blocks) && seen(e) && getComputedStyle(e).position === "static");
    inside.slice(1).forEach((e, i) => {
      if (common(box(inside[i]), box(e)) > 2) faults.push(`block over block: ${name(e)}`);
    });
  }
  for (const e of document.querySelectorAll("h1, p, li, h2, h3, summary, th, td, figcaption, button, .badge")) {
    if (!seen(e) || e.matches(".skip")) continue;
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== "visible") faults.push(`clipped: ${name(e)}`);
    if (!e.closest(".scroll, .equations") && (box(e).right > innerWidth + 1 || box(e).left < -1)) faults.push(`off the page: ${name(e)}`);
  }
  return faults;
}
