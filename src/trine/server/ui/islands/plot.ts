// Scatter of two columns, or parallel coordinates of several: one point or line for each run of a list.
import { ParallelChart, ScatterChart } from "echarts/charts";
import { GridComponent, ParallelComponent, TooltipComponent, VisualMapComponent } from "echarts/components";
import * as echarts from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

echarts.use([ParallelChart, ScatterChart, GridComponent, ParallelComponent, TooltipComponent, VisualMapComponent, CanvasRenderer]);

interface Answer { kind: "scatter" | "parallel"; columns: { name: string; values?: string[] }[]; rows: (number | null)[][]; names: string[]; addresses: string[] }

export function mount(figure: HTMLElement): void {
  const box = figure.querySelector<HTMLElement>(".plot")!;
  const answer = JSON.parse(document.getElementById(figure.dataset.plot!)!.textContent!) as Answer;
  const chart = echarts.init(box, undefined, { renderer: "canvas" });
  const draw = () => chart.setOption(options(answer), true);
  draw();
  chart.on("click", (event: { dataIndex: number }) => { location.href = answer.addresses[event.dataIndex]!; });
  new ResizeObserver(() => chart.resize()).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  box.dataset.drawn = "1";
}

function options(answer: Answer): echarts.EChartsCoreOption {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(name).trim();
  const text = { color: of("--ink-faint"), fontFamily: of("--sans"), fontSize: 11 };
  const line = { lineStyle: { color: of("--line-strong") } };
  const tooltip = {
    renderMode: "richText" as const, backgroundColor: of("--surface"), borderColor: of("--line-strong"), textStyle: { ...text, color: of("--ink") },
    formatter: (event: { dataIndex: number }) => [answer.names[event.dataIndex],
      ...answer.columns.map((column, at) => `${column.name}  ${shown(answer, event.dataIndex, at)}`)].join("\n"),
  };
  const axis = (at: number) => ({
    name: answer.columns[at]!.name, nameTextStyle: text, axisLabel: text, axisLine: line, splitLine: { lineStyle: { color: of("--line") } },
    ...(answer.columns[at]!.values ? { type: "category" as const, data: answer.columns[at]!.values } : { type: "value" as const, scale: true }),
  });
  if (answer.kind === "scatter") {
    return {
      animation: false, tooltip, grid: { left: 64, right: 24, top: 32, bottom: 44 },
      xAxis: { ...axis(0), nameLocation: "middle", nameGap: 28 }, yAxis: axis(1),
      series: [{ type: "scatter", data: answer.rows, symbolSize: 9, itemStyle: { color: of("--series-0"), opacity: 0.75 } }],
    };
  }
  const last = answer.columns.length - 1;
  const known = answer.rows.map((row) => row[last]).filter((value): value is number => value != null);
  return {
    animation: false, tooltip: { ...tooltip, trigger: "item" }, parallel: { left: 48, right: 72, top: 40, bottom: 24 },
    parallelAxis: answer.columns.map((_, at) => ({ dim: at, ...axis(at), nameGap: 14 })),
    visualMap: { show: false, dimension: last, min: Math.min(...known), max: Math.max(...known), inRange: { color: [of("--series-2"), of("--series-0"), of("--series-1")] } },
    series: [{ type: "parallel", data: answer.rows, lineStyle: { width: 1.6, opacity: 0.7 } }],
  };
}

function shown(answer: Answer, row: number, at: number): string {
  const value = answer.rows[row]?.[at];
  if (value == null) return "–";
  return answer.columns[at]!.values?.[value] ?? String(Number(value.toPrecision(5)));
}
