// Lines over steps or time, with the band in which they move: data from a JSON address that thins it on the server, and again
// for the part zoomed into.
import uPlot from "uplot";

type Values = (number | null)[];
interface Line { label: string; x: number[]; y: Values; low?: Values; high?: Values }
interface Answer { lines: Line[]; time?: boolean; unit?: string }

/** Lines that the legend names. */
const NAMED = 4;

const styles = () => getComputedStyle(document.documentElement);
const colour = (at: number) => styles().getPropertyValue(`--series-${at % 8}`).trim();

export function mount(figure: HTMLElement): void {
  const plot = figure.querySelector<HTMLElement>(".plot")!;
  const values = figure.querySelector<HTMLElement>(".values");
  const address = figure.dataset.chart!;
  const smooth = Number(figure.dataset.smooth || 0);
  const log = figure.dataset.log === "1";
  let chart: uPlot | undefined;
  let zoomed = false;
  let shape = "";
  let shown: Answer | undefined;

  async function load(range = ""): Promise<Answer> {
    const answer = await fetch(address + range, { headers: { accept: "application/json" } });
    if (!answer.ok) throw new Error(`${answer.status}`);
    return answer.json() as Promise<Answer>;
  }

  function table(answer: Answer): uPlot.AlignedData {
    const tables = answer.lines.map((line) => {
      const columns: (number[] | Values)[] = [line.x, ...columnsOf(line).map((one) => (log ? positive(one) : one))];
      return columns as uPlot.AlignedData;
    });
    return tables.length > 1 ? uPlot.join(tables) : (tables[0] ?? [[]]);
  }

  /** A line's own values first, then the smoothed ones and the band's ends where there are some. */
  function columnsOf(line: Line): Values[] {
    return [line.y, ...(smooth ? [smoothed(line.y, smooth)] : []), ...(line.low && line.high ? [line.low, line.high] : [])];
  }

  function draw(answer: Answer): void {
    const soft = styles().getPropertyValue("--ink-faint").trim();
    const rule = styles().getPropertyValue("--line").trim();
    const font = `11px ${styles().getPropertyValue("--sans")}`;
    const series: uPlot.Series[] = [{}];
    const bands: uPlot.Band[] = [];
    const plain = { spanGaps: true, points: { show: false } };
    shape = shapeOf(answer);
    answer.lines.forEach((line, at) => {
      const stroke = colour(at);
      series.push({ label: line.label, stroke, width: 1.5, alpha: smooth ? 0.3 : 1, spanGaps: true, points: { show: line.x.length < 2 } });
      if (smooth) series.push({ ...plain, label: line.label, stroke, width: 2 });
      if (!line.low || !line.high) return;
      series.push({ ...plain, label: "", width: 0 }, { ...plain, label: "", width: 0 });
      bands.push({ series: [series.length - 1, series.length - 2], fill: `${stroke}33` });
    });
    const axis: uPlot.Axis = { stroke: soft, font, grid: { stroke: rule, width: 1 }, ticks: { show: false }, gap: 4 };
    plot.replaceChildren();
    chart = new uPlot({
      width: plot.clientWidth, height: plot.clientHeight, series, bands, legend: { show: false },
      scales: { x: { time: !!answer.time, range: (_, low, high) => wide(low, high, answer.time ? 60 : 1) }, y: { distr: log ? 3 : 1, ...(log ? {} : { range: around }) } },
      axes: [{ ...axis, size: answer.time ? 40 : 28 }, { ...axis, size: 52, values: (_, ticks) => ticks.map(short) }],
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
      padding: [answer.lines.length > 1 ? 24 : 8, 8, 0, 0],
      hooks: {
        setCursor: [(self) => tell(self)],
        setSelect: [(self) => {
          if (self.select.width < 4) return;
          const from = self.posToVal(self.select.left, "x"), to = self.posToVal(self.select.left + self.select.width, "x");
          self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          zoomed = true;
          void load(`&from=${from}&to=${to}`).then(show);
        }],
      },
    }, table(answer), plot);
    plot.ondblclick = () => { zoomed = false; void load().then(show); };
    if (answer.lines.length > 1) plot.append(legend(answer));
    plot.dataset.drawn = "1";
  }

  /** Other values in the same chart; a chart anew where there are other lines or bands. */
  function show(answer: Answer): void {
    shown = answer;
    if (chart && shapeOf(answer) === shape) chart.setData(table(answer));
    else draw(answer);
  }

  function tell(self: uPlot): void {
    const answer = shown;
    if (!values || !answer) return;
    const at = self.cursor.idx;
    if (at == null) { values.textContent = ""; return; }
    const x = self.data[0][at]!;
    const where = answer.time ? new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ") : `step ${x}`;
    const told = self.series.slice(1).map((one, index) => [one.label, self.data[index + 1]![at]] as const)
      .filter(([label, value]) => label && value != null).slice(0, 4);
    values.textContent = `${where}: ` + told.map(([label, value]) =>
      answer.lines.length > 1 ? `${label as string} ${short(value!)}` : short(value!)).join(", ");
  }

  new ResizeObserver(() => {
    if (chart && plot.clientWidth) chart.setSize({ width: plot.clientWidth, height: plot.clientHeight });
  }).observe(plot);
  document.querySelector("[data-rooms]")?.addEventListener("trine:changed", () => {
    if (!zoomed && figure.dataset.running) void load().then(show);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => void load().then((answer) => { shape = ""; show(answer); }));

  // what is far below is not asked for before it is looked at
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((one) => one.isIntersecting)) return;
    seen.disconnect();
    load().then(show, (error: Error) => { plot.textContent = `The points could not be read (${error.message}).`; });
  }, { rootMargin: "300px" });
  seen.observe(figure);
}

const shapeOf = (answer: Answer) => answer.lines.map((one) => (one.low ? "b" : "l")).join("");
const positive = (values: Values) => values.map((one) => (one != null && one > 0 ? one : null));

function legend(answer: Answer): HTMLElement {
  const list = document.createElement("p");
  list.className = "legend";
  answer.lines.slice(0, NAMED).forEach((line, at) => {
    const key = document.createElement("i");
    key.className = `k${at % 8}`;
    const item = document.createElement("span");
    item.append(key, line.label);
    list.append(item);
  });
  if (answer.lines.length > NAMED) list.append(`and ${answer.lines.length - NAMED} more`);
  return list;
}

/** The range of the steps or times; of a single one, some room around it. */
function wide(low: number | null, high: number | null, room: number): [number, number] {
  if (low == null || high == null) return [0, 1];
  return low === high ? [low - room, high + room] : [low, high];
}

/** The range of an axis with a little room; a flat line lies in the middle of one. */
function around(_: uPlot, low: number | null, high: number | null): [number, number] {
  if (low == null || high == null) return [0, 1];
  if (low === high) return low === 0 ? [0, 1] : [low - Math.abs(low) / 10, high + Math.abs(high) / 10];
  const room = (high - low) * 0.06;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function short(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** Exponential moving average, corrected for its beginning. */
function smoothed(values: (number | null)[], weight: number): (number | null)[] {
  let last = 0, count = 0;
  return values.map((value) => {
    if (value == null) return null;
    last = last * weight + (1 - weight) * value;
    count += 1;
    return last / (1 - weight ** count);
  });
}
