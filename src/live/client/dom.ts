type Child = Node | string | null;

/** An element with attributes and children; null children are left out. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string>,
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The element of the page with this id. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/** A coloured square and a name, as in every legend. */
export function swatch(name: string, color: string, ...more: Child[]): HTMLElement {
  return element("span", { class: "arm" }, element("i", { style: `background:${color}` }), name, ...more);
}
