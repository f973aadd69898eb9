// One connection for all open tabs: whoever holds the lock listens to the server and tells the others.

const GAP_MS = 1500;
let waiting = new Set<string>();
let timer = 0;

export function listen(): void {
  const address = document.body.dataset.live;
  if (!address || !document.querySelector("[data-rooms]")) return;
  document.addEventListener("visibilitychange", flush);
  if (!("locks" in navigator) || !("BroadcastChannel" in window)) {
    follow(address, changed);
    return;
  }
  const channel = new BroadcastChannel("trine-live");
  channel.onmessage = (message) => changed(message.data as string[]);
  void navigator.locks.request("trine-live", () => new Promise<void>(() => {
    follow(address, (rooms) => {
      channel.postMessage(rooms);
      changed(rooms);
    });
  }));
}

function follow(address: string, tell: (rooms: string[]) => void): void {
  new EventSource(address).addEventListener("change", (event) => tell(JSON.parse((event as MessageEvent).data)));
}

function changed(rooms: string[]): void {
  for (const one of rooms) waiting.add(one);
  if (!timer) timer = window.setTimeout(() => { timer = 0; flush(); }, GAP_MS);
}

function flush(): void {
  if (document.hidden || !waiting.size) return;
  const rooms = waiting;
  waiting = new Set();
  for (const element of document.querySelectorAll<HTMLElement>("[data-rooms]")) {
    if (element.contains(document.activeElement) && document.activeElement?.matches("input, textarea, select")) continue;
    if (element.dataset.rooms!.split(" ").some((room) => rooms.has(room))) {
      window.htmx.trigger(element, "changed");
      element.dispatchEvent(new CustomEvent("trine:changed"));
    }
  }
}
