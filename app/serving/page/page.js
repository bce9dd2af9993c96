// Sends the text that a person types to the server of this page, and shows the prediction.
// Text is inserted as text nodes only, never as HTML.

const MOST_CLASSES = 6; // shown at once
const MOST_RANKED = 8; // words that mattered, listed by number
const MOST_IN_MATRIX = 60; // tokens on a side
const MOST_AT_ONCE = 100; // tokens of a text whose important words are shown without being asked for
const MOST_STATES = 200; // tokens whose hidden state is shown
const GOLDEN_ANGLE = 137.508; // degrees between the hues of one tag and the next

// Words for the tasks that the page knows; others have a name and the default words.
const WORDS = {
  classification: { verb: "Classify", doing: "Classifying", about: "Classification" },
  tagging: { verb: "Tag", doing: "Tagging", about: "Tagging" },
  translation: { verb: "Translate", doing: "Translating", about: "Translation" },
  generation: { verb: "Generate", doing: "Generating", about: "Text generation" },
};
// Explanations by the signature that computes them.
const EXPLANATIONS = {
  explain: { title: "Important words", show: showImportances, atOnce: true },
  attention: { title: "Attention weights", show: showAttention },
};
const STATES = { title: "Hidden state", show: showStates };
// What is loaded when it is opened, by the id of its element, which is also its key in the response.
const PANELS = {
  explanation: { request: "explain", view: ({ explains }) => explains && explanationOf(explains) },
  states: { request: "states", view: ({ has_states }) => has_states && STATES },
};
const REASONS = {
  length: "the length was reached",
  end: "the model ended the text",
  stop: "a stop string was reached",
};

const $ = (id) => document.getElementById(id);
const form = $("form");
const text = $("text");
const result = $("result");

let models = [];
let model = null;
let running = null; // the AbortController of the request in progress
let answered = null; // the text whose prediction is shown
const wanted = {}; // whether the user opened or closed a panel, by its id

// Helpers

const wordsFor = ({ task }) => WORDS[task] ?? { verb: "Predict", doing: "Predicting", about: task };
const explanationOf = (name) =>
  EXPLANATIONS[name] ?? { title: "Explanation", show: (found) => $("explanation-body").replaceChildren(json(found)) };

/** The view of a prediction, chosen by its keys; JSON if none fits. */
function show(prediction, asked, thresholds) {
  if (prediction.probabilities && prediction.label !== undefined) showClasses(prediction);
  else if (prediction.probabilities && prediction.labels) showLabels(prediction, thresholds);
  else if (prediction.tokens && prediction.spans) showTags(prediction, asked);
  else if (typeof prediction.text === "string") showTranslation(prediction);
  else result.replaceChildren(json(prediction));
}

const json = (value) => make("pre", { class: "said" }, JSON.stringify(value, null, 2));

/** An element with attributes and children; strings become text. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Sets a custom property that the style sheet reads. */
function styled(element, name, value) {
  element.style.setProperty(name, value);
  return element;
}

/** Whether a text has so few tokens, as far as it can be known here, that explaining it takes no time. */
function isShort(asked) {
  const byLetter = model.tokens === "char" || model.tokens === "byte";
  const tokens = byLetter ? Array.from(asked) : asked.match(/\p{sc=Han}|[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]/gu);
  return (tokens?.length ?? 0) <= MOST_AT_ONCE;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** The characters from one place to another, counted as the server counts them. */
function cutter(whole) {
  const characters = Array.from(whole);
  return (start, end) => characters.slice(start, end).join("");
}

/** Sends a request; throws an error with the message of the server. */
async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Error(said.error ?? `The server returned status ${response.status}.`);
}

function post(path, document_, signal) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(document_),
    signal,
  });
}

// Models

function describe() {
  const { about } = wordsFor(model);
  const facts = [
    about,
    `version ${model.version}`,
    plural(model.parameters, "parameter"),
    size(model.bytes),
    `trained on ${model.dataset}`,
  ];
  $("facts").textContent = facts.join(" · ");
}

function choose(name) {
  cancel();
  model = models.find((each) => each.name === name);
  const task = wordsFor(model);
  const writes = model.generates;
  document.title = `${model.name} – textrnn`;
  history.replaceState(null, "", `#${encodeURIComponent(model.name)}`);
  $("title").textContent = model.name;
  $("model").value = model.name;
  $("text-label").textContent = writes ? "Prompt" : "Text";
  $("run").textContent = task.verb;
  $("run").disabled = false;
  $("hint").textContent = `to ${task.verb.toLowerCase()}`;
  $("options").hidden = $("options").disabled = !writes; // hidden options must not block the form
  result.setAttribute("aria-live", writes ? "off" : "polite"); // a growing text would be announced piece by piece
  $("length").max = Math.min(2000, model.most_length);
  $("label-option").hidden = !writes || !model.labels.length;
  $("label").replaceChildren(
    make("option", { value: "" }, "any"),
    ...model.labels.map((label) => make("option", { value: label }, label)),
  );
  for (const [id, panel] of Object.entries(PANELS)) $(`${id}-title`).textContent = panel.view(model)?.title ?? "";
  showOptions();
  clear();
  describe();
}

async function start() {
  try {
    ({ models } = await (await ask("/page/models")).json());
  } catch (error) {
    $("error").textContent = error.message;
    return;
  }
  if (!models.length) {
    $("error").textContent = "No model is ready yet; load the page again in a moment.";
    return;
  }
  $("model").replaceChildren(
    ...models.map((each) => make("option", { value: each.name }, `${each.name} – ${wordsFor(each).about}`)),
  );
  $("choice").hidden = models.length === 1;
  const asked = models.find((each) => `#${encodeURIComponent(each.name)}` === location.hash);
  choose((asked ?? models[0]).name);
  text.focus();
}

// Predictions

function clear() {
  $("error").textContent = "";
  $("status").textContent = "";
  text.removeAttribute("aria-invalid");
  result.hidden = true;
  result.replaceChildren();
  for (const id of Object.keys(PANELS)) {
    $(id).hidden = true;
    $(`${id}-body`).replaceChildren();
  }
  answered = null;
}

function fail(message) {
  $("error").textContent = message;
  $("status").textContent = "";
}

function busy(is) {
  $("stop").hidden = !is;
  result.setAttribute("aria-busy", is);
}

/** Aborts the request in progress. */
function cancel() {
  running?.abort();
  running = null;
  busy(false);
}

async function run() {
  if (!model) return;
  cancel();
  clear();
  const asked = text.value.toWellFormed?.() ?? text.value;
  if (!model.generates && !asked.trim()) {
    text.setAttribute("aria-invalid", "true");
    fail("Type some text first.");
    text.focus();
    return;
  }
  const own = new AbortController();
  running = own;
  busy(true);
  $("status").textContent = `${wordsFor(model).doing}…`;
  try {
    await (model.generates ? write(asked, own.signal) : answer(asked, own.signal));
  } catch (error) {
    if (error.name === "AbortError") {
      if (running === null) $("status").textContent = "Stopped.";
    } else if (running === own) {
      fail(error.message);
    }
  } finally {
    if (running === own) {
      running = null;
      busy(false);
    }
  }
}

async function answer(asked, signal) {
  const started = performance.now();
  const path = `/page/models/${encodeURIComponent(model.name)}/answer`;
  const said = await (await post(path, { text: asked }, signal)).json();
  if (said.version !== model.version) {
    model.version = said.version;
    describe();
  }
  answered = asked;
  show(said.answer, asked, said.thresholds);
  result.hidden = false;
  $("status").textContent = `Done in ${Math.round(performance.now() - started)} ms.`;
  for (const [id, panel] of Object.entries(PANELS)) {
    const view = panel.view(model);
    $(id).hidden = !view;
    $(id).open = wanted[id] ?? Boolean(view?.atOnce && isShort(asked));
    load(id);
  }
}

/** Loads what an open panel shows of the prediction that is shown. */
async function load(id) {
  const panel = $(id);
  const body = $(`${id}-body`);
  if (!panel.open || panel.hidden || answered === null || body.hasChildNodes()) return;
  const asked = answered;
  const own = model;
  const path = `/page/models/${encodeURIComponent(own.name)}/answer`;
  body.replaceChildren(make("p", { class: "quiet" }, "Loading…"));
  try {
    const said = await (await post(path, { text: asked, [PANELS[id].request]: true })).json();
    if (answered !== asked || model !== own) return;
    if (!said[id]) throw new Error("This version of the model does not have it.");
    PANELS[id].view(own).show(said[id], asked);
  } catch (error) {
    if (answered === asked) body.replaceChildren(make("p", { class: "error", role: "alert" }, error.message));
  }
}

// Classification

/** One label, or none where the model is not certain enough. */
function showClasses({ label, score, probabilities }) {
  const said = label === null ? make("span", {}, "Don't know") : make("span", { dir: "auto" }, label);
  const share = label === null ? `at most ${percent(score)} for a class` : percent(score);
  const verdict = make("p", { class: "verdict" }, said, " ", make("span", { class: "share" }, share));
  const classes = bars(probabilities, [label], { each: "class", all: "classes" });
  result.replaceChildren(verdict, ...certainty(score, label !== null), ...classes);
}

/** A bar for the probability of a prediction, and what the number means. */
function certainty(score, known = true) {
  const meter = make("div", {
    class: "bar certainty",
    role: "meter",
    "aria-label": "Certainty",
    "aria-valuemin": 0,
    "aria-valuemax": 100,
    "aria-valuenow": (100 * score).toFixed(1),
    "aria-valuetext": percent(score),
  });
  const ofHundred = Math.min(Math.round(100 * score), 99);
  let meaning = "The model's own estimate; its probabilities are not calibrated.";
  if (!known) meaning = "The model gives a label only where it is more certain.";
  else if (model.calibrated)
    meaning = `Of predictions this certain, about ${ofHundred} in 100 are right, on texts like those of training.`;
  return [styled(meter, "--share", `${100 * score}%`), make("p", { class: "quiet" }, `Certainty. ${meaning}`)];
}

/** Any number of labels: the chosen ones come first. */
function showLabels({ labels, probabilities }, thresholds) {
  const verdict = make("p", { class: "verdict" });
  labels.forEach((label, place) => verdict.append(place ? " · " : "", make("span", { dir: "auto" }, label)));
  if (!labels.length) verdict.append(make("span", { class: "share" }, "No label"));
  const note = "A label is given if its probability reaches its threshold, the mark on its bar.";
  const names = { each: "label", all: "labels" };
  result.replaceChildren(
    verdict,
    ...bars(probabilities, labels, names, "✓", thresholds),
    ...(thresholds ? [make("p", { class: "quiet" }, note)] : []),
  );
}

/**
 * A bar for each probability, highest first; those of the chosen names stand out, with a mark if there is one.
 * With thresholds, each bar has its own, and the number says whether it is reached.
 */
function bars(probabilities, chosen, { each, all }, mark = "", thresholds = null) {
  const isChosen = new Set(chosen);
  const ranked = Object.entries(probabilities).sort(
    ([first, a], [second, b]) => isChosen.has(second) - isChosen.has(first) || b - a,
  );
  const list = make("ul", { class: "bars", "aria-label": `Probability of each ${each}` });
  const fill = (shown) =>
    list.replaceChildren(
      ...shown.map(([name, share]) => {
        const bar = styled(make("span", { class: "bar", "aria-hidden": "true" }), "--share", `${100 * share}%`);
        const best = isChosen.has(name);
        const written = make("span", { class: "name" }, make("span", { dir: "auto" }, name));
        if (best && mark) written.append(" ", make("span", { role: "img", "aria-label": "chosen" }, mark));
        const number = make("span", { class: "share" }, percent(share));
        if (thresholds) {
          bar.append(styled(make("span", { class: "threshold" }), "--threshold", `${100 * thresholds[name]}%`));
          number.append(make("span", { class: "limit" }, ` ${best ? "≥" : "<"} ${percent(thresholds[name])}`));
        }
        return make("li", best ? { class: "best" } : {}, written, bar, number);
      }),
    );
  fill(ranked.slice(0, Math.max(MOST_CLASSES, chosen.length)));
  if (ranked.length <= Math.max(MOST_CLASSES, chosen.length)) return [list];
  const button = make("button", { type: "button", id: "all-classes" }, `Show all ${ranked.length} ${all}`);
  button.addEventListener("click", () => {
    fill(ranked);
    list.tabIndex = -1;
    list.focus();
    button.remove();
  });
  return [list, button];
}

/** Adds up tokens of the same characters, such as the bytes of a letter. */
function places(tokens) {
  const found = new Map();
  for (const { start, end, importance } of tokens) {
    if (end <= start) continue;
    const key = `${start}:${end}`;
    const place = found.get(key) ?? { start, end, importance: 0 };
    place.importance += importance;
    found.set(key, place);
  }
  return [...found.values()].sort((a, b) => a.start - b.start);
}

function showImportances({ label, tokens }, asked) {
  const cut = cutter(asked);
  const found = places(tokens);
  const most = Math.max(...found.map(({ importance }) => Math.abs(importance)), 1e-9);
  const shaded = make("p", { class: "said", dir: "auto" });
  let reached = 0;
  for (const { start, end, importance } of found) {
    if (start < reached) continue;
    shaded.append(cut(reached, start));
    reached = end;
    const share = Math.abs(importance) / most;
    if (share < 0.05) {
      shaded.append(cut(start, end));
      continue;
    }
    const against = importance < 0;
    const mark = make("mark", { title: signed(importance) }, cut(start, end));
    if (against) mark.className = "against";
    styled(mark, "--strength", against ? `${(1 + 2 * share).toFixed(1)}px` : `${(100 * share).toFixed(0)}%`);
    shaded.append(mark);
  }
  shaded.append(cut(reached));
  const forIt = styled(make("mark", {}, "shaded"), "--strength", "70%");
  const againstIt = styled(make("mark", { class: "against" }, "dashed"), "--strength", "2px");
  const key = make("p", { class: "key quiet" });
  key.append(
    make("span", {}, forIt, " speaks for ", make("span", { dir: "auto" }, label)),
    make("span", {}, againstIt, " speaks against it"),
  );
  const ranked = found
    .filter(({ importance }) => Math.abs(importance) / most >= 0.05)
    .sort((a, b) => Math.abs(b.importance) - Math.abs(a.importance))
    .slice(0, MOST_RANKED)
    .map(({ start, end, importance }) =>
      make(
        "li",
        {},
        make("span", { dir: "auto" }, cut(start, end)),
        make("span", { class: "number" }, signed(importance)),
      ),
    );
  const body = [shaded, key];
  if (ranked.length) {
    const unit = "What each word adds to the log-odds, compared with an unknown word.";
    body.push(make("h2", {}, "In numbers"), make("p", { class: "quiet" }, unit));
    body.push(make("ol", { class: "ranking" }, ...ranked));
  } else {
    body.push(make("p", { class: "quiet" }, "The model knows none of the words."));
  }
  $("explanation-body").replaceChildren(...body);
}

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

// Hidden state

/** A heat map: a row for each unit, a column for each token. */
function showStates({ tokens, units, states }, asked) {
  const cut = cutter(asked);
  const words = tokens.slice(0, MOST_STATES).map(({ text, start, end }) => (end > start ? cut(start, end) : text));
  const body = $("states-body");
  if (!words.length) {
    body.replaceChildren(make("p", { class: "quiet" }, "There are no tokens."));
    return;
  }
  const shown = states.map((row) => row.slice(0, words.length));
  const most = Math.max(...shown.flat().map(Math.abs), 1e-9);
  let strongest = [0, 0];
  shown.forEach((row, unit) =>
    row.forEach((value, place) => {
      if (Math.abs(value) > Math.abs(shown[strongest[0]][strongest[1]])) strongest = [unit, place];
    }),
  );
  const told = (unit, place) => `${units[unit]} after “${words[place]}”: ${signed(shown[unit][place])}`;
  const cell = (unit, place) => {
    const value = shown[unit][place];
    const own = make("td", { class: value < 0 ? "negative" : "positive", title: told(unit, place) });
    return styled(own, "--strength", `${((100 * Math.abs(value)) / most).toFixed(0)}%`);
  };
  const head = words.map((word) => make("th", {}, make("span", { dir: "auto" }, word)));
  const rows = shown.map((row, unit) =>
    make("tr", {}, make("th", {}, units[unit]), ...row.map((_, place) => cell(unit, place))),
  );
  const alternative =
    `Heat map of the hidden state: ${plural(units.length, "unit")} in rows, ${plural(words.length, "token")} ` +
    `in columns, values from ${signed(-most)} to ${signed(most)}. The strongest is ${told(...strongest)}.`;
  const table = make(
    "table",
    { class: "matrix heat", role: "img", "aria-label": alternative },
    make("thead", {}, make("tr", {}, make("th", {}, "unit \\ token"), ...head)),
    make("tbody", {}, ...rows),
  );
  const scale = make("p", { class: "scale quiet", "aria-hidden": "true" });
  scale.append(signed(-most), make("span", { class: "gradient" }), signed(most));
  const meaning =
    "Rows: units of the top recurrent layer, those that the output depends on most. Columns: tokens of the text. " +
    "A cell is the value of a unit after a token; backward units read the text from its end.";
  const rest = tokens.length > words.length ? ` The first ${words.length} of ${tokens.length} tokens are shown.` : "";
  const region = { class: "scroll", role: "region", tabindex: "0", "aria-label": "Hidden state after each token" };
  body.replaceChildren(
    make("p", { class: "quiet" }, meaning + rest),
    scale,
    make("div", region, table),
    make("p", { class: "quiet" }, `The strongest: ${told(...strongest)}.`),
  );
}

// Tagging

const hues = new Map();

function hue(name) {
  if (!hues.has(name)) hues.set(name, (hues.size * GOLDEN_ANGLE + 190) % 360);
  return hues.get(name).toFixed(0);
}

function showTags({ tokens, spans, label, score }, asked) {
  const cut = cutter(asked);
  // Without spans, show the tag of each token.
  const each = !spans.length && tokens.some(({ tag }) => tag !== "O");
  const marked = each ? tokens.map(({ start, end, tag }) => ({ start, end, label: tag })) : spans;
  const shown = make("p", { class: `said tagged${each ? " words" : ""}`, dir: "auto" });
  let reached = 0;
  for (const span of marked) {
    shown.append(cut(reached, span.start));
    const name = make("span", { class: "name", dir: "ltr" }, span.label);
    shown.append(styled(make("span", { class: "tag" }, cut(span.start, span.end), name), "--hue", hue(span.label)));
    reached = span.end;
  }
  shown.append(cut(reached));
  result.replaceChildren();
  if (label !== undefined) {
    const verdict = make("p", { class: "verdict" }, label, " ");
    verdict.append(make("span", { class: "share" }, percent(score)));
    result.append(verdict, ...certainty(score));
  }
  result.append(shown);
  if (!marked.length) result.append(make("p", { class: "quiet" }, "No tags."));
}

// Translation

function showTranslation(found) {
  result.replaceChildren(make("p", { class: "said", dir: "auto" }, found.text));
}

/** The text of a token: subwords include the space before them. */
function tokenText(token, subwords) {
  return subwords ? token.replaceAll("▁", " ") : ` ${token}`;
}

function showAttention({ source, target, attention }) {
  const subwords = [...source, ...target].some((token) => token.startsWith("▁"));
  const line = (tokens, attributes) =>
    tokens.map((token, place) => {
      const written = tokenText(token, subwords);
      const span = make("span", { ...attributes, "data-place": place }, written.trimStart());
      return written.startsWith(" ") && place ? [" ", span] : [span];
    });
  const read = make("p", { class: "tokens", dir: "auto" }, ...line(source, {}).flat());
  const written = make(
    "p",
    { class: "tokens", dir: "auto", role: "listbox", "aria-label": "Words of the translation" },
    ...line(target, { class: "target", role: "option", tabindex: "-1", "aria-selected": "false" }).flat(),
  );
  const said = make("p", { class: "quiet", role: "status" });
  const sources = [...read.querySelectorAll("span")];
  const targets = [...written.querySelectorAll("span")];

  const choose_ = (place) => {
    targets.forEach((span, other) => {
      const chosen = other === place;
      span.classList.toggle("chosen", chosen);
      span.setAttribute("aria-selected", chosen);
      span.tabIndex = chosen ? 0 : -1;
    });
    const weights = attention[place];
    sources.forEach((span, other) => styled(span, "--strength", `${(100 * weights[other]).toFixed(0)}%`));
    const best = weights
      .map((weight, other) => [weight, sources[other].textContent])
      .filter(([weight]) => weight >= 0.1)
      .sort(([a], [b]) => b - a)
      .slice(0, 3)
      .map(([weight, word]) => `${word} ${(100 * weight).toFixed(0)} %`);
    said.textContent = `${targets[place].textContent}: ${best.join(", ") || "spread over many words"}`;
  };
  targets.forEach((span, place) => {
    span.addEventListener("mouseenter", () => choose_(place));
    span.addEventListener("focus", () => choose_(place));
    span.addEventListener("click", () => span.focus());
  });
  written.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const edge = { Home: 0, End: targets.length - 1 }[event.key];
    if (step === undefined && edge === undefined) return;
    event.preventDefault();
    const place = edge ?? targets.indexOf(document.activeElement) + step;
    targets[Math.min(Math.max(place, 0), targets.length - 1)].focus();
  });
  const body = [
    make("h2", {}, "Source"),
    read,
    make("h2", {}, "Translation"),
    written,
    said,
    make("h2", {}, "Matrix"),
  ];
  if (!targets.length) body.splice(0, body.length, make("p", { class: "quiet" }, "There are no tokens."));
  else if (Math.max(source.length, target.length) > MOST_IN_MATRIX)
    body.push(make("p", { class: "quiet" }, `The matrix is shown for at most ${MOST_IN_MATRIX} tokens.`));
  else body.push(matrix(sources, targets, attention));
  $("explanation-body").replaceChildren(...body);
  if (targets.length) choose_(0);
}

function matrix(sources, targets, attention) {
  const words = (spans) => spans.map((span) => span.textContent);
  const columns = words(sources);
  const head = columns.map((word) => make("th", { scope: "col" }, word));
  const rows = words(targets).map((word, place) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, word),
      ...attention[place].map((weight, other) => {
        const share = `${(100 * weight).toFixed(0)} %`;
        const cell = make("td", { "aria-label": share, title: `${word} – ${columns[other]}: ${share}` });
        return styled(cell, "--strength", `${100 * weight}%`);
      }),
    ),
  );
  const table = make(
    "table",
    { class: "matrix" },
    make("thead", {}, make("tr", {}, make("td", { "aria-label": "" }), ...head)),
    make("tbody", {}, ...rows),
  );
  const attributes = { class: "scroll", role: "region", tabindex: "0", "aria-label": "Attention of each word" };
  return make("div", attributes, table);
}

// Text generation

function options() {
  const chosen = {};
  for (const name of ["temperature", "length", "top_k", "top_p", "seed"]) chosen[name] = Number($(name).value);
  if ($("label").value) chosen.label = $("label").value;
  return chosen;
}

function showOptions() {
  const { temperature, length, top_k, top_p } = options();
  const shown = {
    temperature: temperature === 0 ? "0: always the most probable token" : temperature.toFixed(2),
    length: length.toLocaleString("en"),
    top_k: top_k === 0 ? "all tokens" : `best ${top_k}`,
    top_p: top_p === 1 ? "all tokens" : `best ${(100 * top_p).toFixed(0)} %`,
  };
  for (const [name, value] of Object.entries(shown)) {
    document.querySelector(`output[for="${name}"]`).textContent = value;
    $(name).setAttribute("aria-valuetext", value);
  }
}

/** The events of a stream, as the objects that they hold. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) yield JSON.parse(part.replace(/^data: /, ""));
  }
}

async function write(prompt, signal) {
  const path = `/v1/models/${encodeURIComponent(model.name)}:generate`;
  const response = await post(path, { prompt, ...options() }, signal);
  const grown = document.createTextNode("");
  const shown = make("p", { class: "said written busy", dir: "auto" });
  shown.append(make("span", { class: "prompt" }, prompt), grown);
  result.replaceChildren(shown);
  result.hidden = false;
  let tokens = 0;
  let last = null;
  try {
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error);
      if (event.done) {
        last = event;
      } else {
        grown.appendData(event.text);
        tokens += 1;
      }
    }
    if (!last) throw new Error("The server stopped in the middle of the text.");
    const perToken = last.log_probability / Math.max(tokens, 1);
    const share = `${perToken.toFixed(2)} nats per token`.replace("-", "−");
    $("status").textContent = `${plural(tokens, "token")}: ${REASONS[last.reason]}. Log-probability: ${share}.`;
  } finally {
    shown.classList.remove("busy");
  }
}

// Events

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("input", showOptions);
$("stop").addEventListener("click", () => {
  cancel();
  text.focus();
});
$("new-seed").addEventListener("click", () => {
  $("seed").value = Math.floor(Math.random() * 2 ** 31);
});
$("model").addEventListener("change", (event) => choose(event.target.value));
for (const id of Object.keys(PANELS)) {
  $(id).addEventListener("toggle", () => load(id));
  // A click comes before the panel opens or closes, also one by the keyboard.
  $(`${id}-title`).addEventListener("click", () => (wanted[id] = !$(id).open));
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === "Escape" && running) {
    cancel();
  }
});

start();
