// Layered graphs: nodes are links that the page has as a list already; this lays them out and draws them.
import dagre from "@dagrejs/dagre";

interface Node { id: string; kind: string; name: string; href: string; state?: string }
interface Edge { from: string; to: string; kind: string }
interface Graph { nodes: Node[]; edges: Edge[]; start?: string }

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 40;

export function mount(box: HTMLElement): void {
  const graph = JSON.parse(document.getElementById(box.dataset.graph!)!.textContent!) as Graph;
  const layout = new dagre.graphlib.Graph().setGraph({ rankdir: "LR", nodesep: 14, ranksep: 46, marginx: 16, marginy: 16 });
  layout.setDefaultEdgeLabel(() => ({}));
  for (const one of graph.nodes) layout.setNode(one.id, { width: width(one), height: HEIGHT });
  for (const one of graph.edges) if (layout.hasNode(one.from) && layout.hasNode(one.to)) layout.setEdge(one.from, one.to);
  dagre.layout(layout);
  const size = layout.graph();
  const [wide, tall] = [size.width ?? 1, size.height ?? 1];
  const scale = Math.min(1, Math.max(0.75, Math.min(box.clientWidth / wide, box.clientHeight / tall)));
  const svg = make("svg", { width: String(wide * scale), height: String(tall * scale), viewBox: `0 0 ${wide} ${tall}`, role: "group" });
  svg.setAttribute("aria-label", `${graph.nodes.length} nodes and ${graph.edges.length} edges; the same as a list below`);
  for (const edge of layout.edges()) {
    const points = layout.edge(edge).points as { x: number; y: number }[];
    const line = make("path", { d: curve(points) });
    const kind = graph.edges.find((one) => one.from === edge.v && one.to === edge.w)?.kind ?? "";
    line.append(make("title", {}, kind));
    svg.append(line);
  }
  for (const one of graph.nodes) {
    const at = layout.node(one.id) as { x: number; y: number };
    const wide = width(one);
    const link = make("a", { href: one.href, class: [one.id === graph.start ? "start" : "", one.state ?? ""].join(" ").trim() });
    link.setAttribute("transform", `translate(${at.x - wide / 2},${at.y - HEIGHT / 2})`);
    link.append(
      make("rect", { width: String(wide), height: String(HEIGHT), rx: "6" }),
      make("text", { x: "10", y: "16", class: "kind" }, one.kind),
      make("text", { x: "10", y: "31" }, cut(one.name)),
      make("title", {}, one.id),
    );
    svg.append(link);
  }
  box.replaceChildren(svg);
  const start = graph.start && layout.hasNode(graph.start) ? (layout.node(graph.start) as { x: number; y: number }) : undefined;
  if (start) box.scrollTo({ left: start.x * scale - box.clientWidth / 2, top: start.y * scale - box.clientHeight / 2 });
  box.dataset.drawn = "1";
}

const cut = (text: string) => (text.length > 30 ? `${text.slice(0, 29)}…` : text);
const width = (one: Node) => Math.max(70, Math.max(cut(one.name).length * 7.3, one.kind.length * 6.2) + 20);

function curve(points: { x: number; y: number }[]): string {
  const first = points[0]!, last = points[points.length - 1]!;
  if (points.length < 4) {
    const middle = (first.x + last.x) / 2;
    return `M${first.x},${first.y}C${middle},${first.y} ${middle},${last.y} ${last.x},${last.y}`;
  }
  let path = `M${first.x},${first.y}`;
  for (let at = 1; at < points.length - 1; at++) {
    const here = points[at]!, next = points[at + 1]!;
    path += `Q${here.x},${here.y} ${(here.x + next.x) / 2},${(here.y + next.y) / 2}`;
  }
  return `${path}L${last.x},${last.y}`;
}

function make(name: string, attributes: Record<string, string>, text = ""): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value) element.setAttribute(key, value);
  if (text) element.textContent = text;
  return element;
}
