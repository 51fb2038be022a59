"use strict";
// The page's script: a limit chooses a subnet. The charts need Vega; the rest works without it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("chooser");
  const slider = document.getElementById("limit");
  const shown = document.getElementById("limit-shown");
  const answer = document.getElementById("answer");
  const cards = [...document.querySelectorAll(".card")];
  let axis = null;
  let chosen = cards.findIndex((card) => !card.hidden);
  let view = null;

  const inWords = (value) => `${value.toFixed(axis.decimals)}\u00a0${axis.unit}`;
  const above = (value) => Math.min(Math.ceil(value / axis.step - 1e-6) * axis.step, axis.high);

  // of those whose need is within the limit, the one of lowest loss
  function bestWithin(limit) {
    let best = -1;
    axis.needed.forEach((needed, i) => {
      const kept = needed !== null && needed <= limit + axis.step * 1e-6;
      if (kept && (best < 0 || data.ranks[i] < data.ranks[best])) best = i;
    });
    return best;
  }

  function show(i) {
    chosen = i;
    cards.forEach((card, j) => { card.hidden = j !== i; });
    const limit = Number(slider.value);
    shown.textContent = inWords(limit);
    slider.setAttribute("aria-valuetext", inWords(limit));
    answer.textContent = cards[i].dataset.answer;
    if (view) view.signal("limit", limit).signal("chosen", data.keys[i]).runAsync();
  }

  function useAxis(name, keep) {
    axis = data.axes.find((each) => each.name === name);
    slider.min = axis.low;
    slider.max = axis.high;
    slider.step = axis.step;
    const needed = axis.needed[chosen];
    slider.value = needed === null ? axis.high : above(needed);
    show(keep ? chosen : bestWithin(Number(slider.value)));
    draw();
  }

  // -- charts, in the colours of the page

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function config(place) {
    const font = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif";
    const words = { labelColor: css("--soft"), titleColor: css("--ink"), labelFont: font, titleFont: font };
    return {
      background: null,
      font,
      view: { stroke: null },
      axis: { ...words, gridColor: css("--grid"), domainColor: css("--grey"), tickColor: css("--grey"),
        labelFontSize: 12, titleFontSize: 13, titleFontWeight: 500, labelOverlap: true, labelSeparation: 8 },
      // the name of a device may be longer than the page is wide
      axisX: { titleLimit: place.clientWidth - 64 },
      legend: { ...words, labelColor: css("--ink"), labelFontSize: 13, symbolSize: 80 },
      line: { color: css("--blue") },
      range: { category: [css("--blue"), css("--teal"), css("--orange")] },
      style: {
        limit: { color: css("--bad") },
        "limit-text": { color: css("--bad"), fontSize: 12, fontWeight: 600 },
        asked: { color: css("--ink"), strokeWidth: 1.5 },
        chosen: { color: css("--ink"), opacity: 1 },
        band: { color: css("--blue"), fillOpacity: 0.13 },
        diagonal: { color: css("--grey"), strokeWidth: 1 },
      },
    };
  }

  async function embed(place, spec) {
    place.parentElement.hidden = false;
    const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: config(place),
      tooltip: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light" } };
    return (await vegaEmbed(place, structuredClone(spec), options)).view;
  }

  async function draw() {
    if (!window.vegaEmbed) return;
    const drawn = axis;
    const made = await embed(document.getElementById("front-chart"), axis.chart);
    if (drawn !== axis) return;  // another axis was asked for meanwhile
    view = made;
    view.addEventListener("click", (event, item) => {
      const i = item && item.datum ? data.keys.indexOf(item.datum.key) : -1;
      if (i < 0 || axis.needed[i] === null) return;
      slider.value = above(axis.needed[i]);
      show(i);
    });
    show(chosen);
  }

  async function drawAgreement() {
    const place = document.getElementById("agreement-chart");
    if (place && window.vegaEmbed) await embed(place, data.agreement);
  }

  slider.addEventListener("input", () => show(bestWithin(Number(slider.value))));
  form.addEventListener("change", (event) => {
    if (event.target.name === "axis") useAxis(event.target.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    draw();
    drawAgreement();
  });
  form.hidden = false;
  useAxis(form.elements.axis.value, true);  // the page begins with the winner
  drawAgreement();
})();
