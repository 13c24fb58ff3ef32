// Moves the cards. Moves that come together are made together, once a frame; a column never holds more cards than it
// shows, so ten thousand OUSs cost no more than some hundreds. A column that many leave is filled up by itself, half
// empty at the earliest, so that a stream of moves costs few questions.
"use strict";

import { age, events, fetchPage } from "./live.js";

const main = document.getElementById("live");
const STEP = Number(main.dataset.limit);
const filter = location.search;
const filtered = new URLSearchParams(filter).has("q") && new URLSearchParams(filter).get("q") !== "" || new URLSearchParams(filter).has("need");
const REFILL_MS = 400;
const CALM = 10; // as many moves a second are pointed out; more would only flicker, and cost much to draw
let told = 0;
setInterval(() => { told = 0; }, 1000);
let pending = new Map();
let counts = null;
let needs = null;
let asked = false;

const columns = () => [...main.querySelectorAll(".column")];
const columnOf = (state) => columns().find((each) => each.dataset.state === state);

function element(name, text, className) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// Lets a long word break where it is joined.
function wrapped(made, text) {
  text.split(/(?<=[a-z])(?=[A-Z])|(?<=[/])(?=[A-Za-z0-9])/).forEach((part, at) => made.append(...(at ? [element("wbr"), part] : [part])));
  return made;
}

function drawn(card) {
  const item = element("li", "", card.need ? "card need" : "card");
  item.dataset.id = card.id;
  const link = wrapped(element("a"), card.uid);
  link.href = `/ous/${encodeURIComponent(card.id)}`;
  const line = element("p");
  line.append(element("span", card.program), " ", element("span", card.executive, "executive"));
  item.append(link, line, wrapped(element("p", "", "detail"), card.detail));
  if (card.note) item.append(element("p", card.note, "note"));
  if (card.need) {
    const todo = element("p", "", "todo");
    const hand = element("span", "⚑");
    hand.setAttribute("aria-hidden", "true");
    todo.append(hand, ` ${card.need}`);
    item.append(todo);
  }
  const age = element("p", "", "age");
  const time = element("time");
  time.dateTime = `${card.since}Z`;
  age.append(time);
  item.append(age);
  return item;
}

// Writes only what differs: whatever is written has to be laid out again.
function write(element_, text) {
  if (element_.textContent !== String(text)) element_.textContent = text;
}

function tell(column) {
  const list = column.querySelector("ul");
  const total = Number(column.dataset.total);
  const shown = list.children.length;
  write(column.querySelector(".count"), total);
  column.querySelector(".none").hidden = shown > 0;
  const rest = column.querySelector(".rest");
  rest.hidden = shown >= total;
  write(rest.querySelector("span"), `${shown} of ${total} shown`);
}

function sinceOf(item) {
  return item.querySelector("time")?.dateTime ?? "";
}

// Puts a card where the server has it: the latest first, and of those of one moment the greatest id. Told of once more, it
// must not change its place, or what is fetched next would begin in the wrong one.
const spot = (list, since, id) => [...list.children].find((each) => sinceOf(each) < since || (sinceOf(each) === since && each.dataset.id < id)) ?? null;

// How many cards a column shows: more where somebody has asked for more.
const mostOf = (column) => Math.max(STEP, Number(column.dataset.most ?? 0));

function place(card) {
  const column = columnOf(card.state);
  if (!column) return reload();
  const list = column.querySelector("ul");
  const item = drawn(card);
  const before = spot(list, `${card.since}Z`, card.id);
  const full = list.children.length >= mostOf(column) && list.children.length < counts[card.state];
  if (!before && full) return;
  list.insertBefore(item, before);
  if (told <= CALM) item.classList.add("new");
}

function make() {
  const focused = document.activeElement?.closest?.(".card")?.dataset.id;
  for (const [id, card] of pending) {
    main.querySelector(`.card[data-id="${CSS.escape(id)}"]`)?.remove();
    if (card) place(card);
  }
  pending = new Map();
  for (const column of columns()) {
    column.dataset.total = counts[column.dataset.state] ?? 0;
    const list = column.querySelector("ul");
    while (list.children.length > mostOf(column)) list.lastElementChild.remove();
    tell(column);
    if (list.children.length < Math.min(STEP / 2, Number(column.dataset.total))) fill(column);
  }
  write(document.getElementById("needs"), Object.values(needs).reduce((sum, each) => sum + each, 0));
  document.getElementById("empty")?.remove();
  if (focused) main.querySelector(`.card[data-id="${CSS.escape(focused)}"] a`)?.focus();
  age();
}

events.addEventListener("moves", (event) => {
  const news = JSON.parse(event.data);
  told += news.moves.length;
  counts = news.counts;
  needs = news.needs;
  if (filtered) return reload();
  if (!pending.size) requestAnimationFrame(make);
  for (const move of news.moves) {
    pending.set(move.id, move.card);
    filling.forEach((moved) => moved.add(move.id));
  }
});
events.addEventListener("reload", reload);

const filling = new Map(); // of each column that is being filled, the cards that moved since it was asked for

// Fetches the cards that came up from behind in a column.
function fill(column) {
  if (filling.has(column)) return;
  const moved = new Set();
  filling.set(column, moved);
  setTimeout(async () => {
    try {
      moved.clear();
      const query = new URLSearchParams({ start: 0, limit: STEP });
      const page = await fetchPage(`/column/${encodeURIComponent(column.dataset.state)}?${query}`);
      const list = column.querySelector("ul");
      const have = new Set([...list.children].map((each) => each.dataset.id));
      for (const item of page.querySelectorAll(".card")) {
        if (have.has(item.dataset.id) || moved.has(item.dataset.id)) continue;
        list.insertBefore(item, spot(list, sinceOf(item), item.dataset.id));
      }
      tell(column);
      age();
    } catch {
      // the server is away: live.js says so, and the next move asks again
    } finally {
      filling.delete(column);
    }
  }, REFILL_MS);
}

// What cannot be told by moves alone (a search, a board that was away for long) is fetched.
function reload() {
  if (asked) return;
  asked = true;
  setTimeout(async () => {
    asked = false;
    try {
      const page = await fetchPage();
      const focused = document.activeElement?.closest?.(".card")?.dataset.id;
      const longer = columns().filter((each) => each.dataset.most).map((each) => [each.dataset.state, Number(each.dataset.most)]);
      main.querySelectorAll(".notice").forEach((each) => each.remove());
      main.querySelector("#board").before(...page.querySelectorAll("main > .notice"));
      main.querySelector("#board").replaceWith(page.querySelector("#board"));
      longer.forEach(([state, most]) => lengthen(state, most));
      main.querySelector("#needs").textContent = page.querySelector("#needs").textContent;
      if (focused) main.querySelector(`.card[data-id="${CSS.escape(focused)}"] a`)?.focus();
      age();
    } catch {
      reload(); // the server is away: live.js says so, and the next event or try mends it
    }
  }, REFILL_MS);
}

// Shows as many cards of a column as asked for, and notes it, so that it stays as long when the board is fetched anew.
async function lengthen(state, most) {
  columnOf(state).dataset.most = most;
  const start = columnOf(state).querySelector("ul").children.length;
  if (start >= most) return;
  const query = new URLSearchParams(filter);
  query.set("start", start);
  query.set("limit", most - start);
  try {
    const page = await fetchPage(`/column/${encodeURIComponent(state)}?${query}`);
    const column = columnOf(state); // the board may be another by now
    const list = column.querySelector("ul");
    const have = new Set([...list.children].map((each) => each.dataset.id));
    list.append(...[...page.querySelectorAll(".card")].filter((each) => !have.has(each.dataset.id)));
    tell(column);
    age();
  } catch {
    columnOf(state).querySelector(".rest span").textContent = "no answer: press again";
  }
}

main.addEventListener("click", (event) => {
  const column = event.target.closest(".more")?.closest(".column");
  if (column) lengthen(column.dataset.state, column.querySelector("ul").children.length + STEP);
});
