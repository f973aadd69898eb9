// What every page loads: htmx, live updates, Ctrl-K; charts and graphs come when a page has one.
import "htmx.org/dist/htmx.esm.js";
import { listen } from "./live";

declare global {
  interface Window { htmx: { trigger(element: Element, event: string): void } }
}

const ISLANDS: Record<string, () => Promise<{ mount(element: HTMLElement): void }>> = {
  "[data-chart]": () => import("./chart"),
  "[data-graph]": () => import("./graph"),
  "[data-plot]": () => import("./plot"),
};

function mount(): void {
  for (const [selector, load] of Object.entries(ISLANDS)) {
    const found = [...document.querySelectorAll<HTMLElement>(`${selector}:not([data-mounted])`)];
    if (!found.length) continue;
    for (const one of found) one.dataset.mounted = "";
    void load().then((island) => found.forEach((one) => island.mount(one)));
  }
}

function keys(event: KeyboardEvent): void {
  const search = document.querySelector<HTMLInputElement>("#anything");
  if (!search) return;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    search.select();
    search.focus();
  }
  const links = [...document.querySelectorAll<HTMLElement>("#found a")];
  const inside = search.parentElement?.contains(document.activeElement);
  if (event.key === "Escape" && inside) {
    document.querySelector("#found")?.replaceChildren();
    search.blur();
  }
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && inside && links.length) {
    event.preventDefault();
    const all = [search as HTMLElement, ...links];
    const at = all.indexOf(document.activeElement as HTMLElement);
    all[(at + (event.key === "ArrowDown" ? 1 : all.length - 1)) % all.length]?.focus();
  }
}

document.addEventListener("keydown", keys);
document.addEventListener("click", (event) => {
  const search = document.querySelector("#anything")?.parentElement;
  if (search && !search.contains(event.target as Node)) document.querySelector("#found")?.replaceChildren();
});
document.addEventListener("change", (event) => {
  const form = (event.target as HTMLElement).closest<HTMLFormElement>("form[data-auto]");
  form?.requestSubmit();
});
if (matchMedia("(max-width: 760px)").matches) document.querySelector(".menu")?.removeAttribute("open");
document.addEventListener("htmx:after:swap", mount);
mount();
listen();
