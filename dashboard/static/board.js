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
    if (list.children.length < Math.min(STEP / 2, Number(column.dataset.total))) fill(column.dataset.state);
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
  const moves = news.moves.map((move) => [move.id, move.card]);
  flights.forEach((moved) => moves.forEach((move) => moved.set(...move)));
  takeIn(moves);
});
events.addEventListener("reload", reload);

function takeIn(moves) {
  if (!pending.size && moves.length) requestAnimationFrame(make);
  moves.forEach((move) => pending.set(...move));
}

const flights = new Set(); // for each page that is being fetched, what moved since: the page may be older than that

// Returns a page, and what moved since it was asked for.
async function fetched(address) {
  const moved = new Map();
  flights.add(moved);
  try {
    return { page: await fetchPage(address), moved };
  } finally {
    flights.delete(moved);
  }
}

// Fetches cards of a column, and puts in those that are not there.
async function fetchCards(state, query) {
  const { page, moved } = await fetched(`/column/${encodeURIComponent(state)}?${query}`);
  const column = columnOf(state);
  if (!column) return;
  const list = column.querySelector("ul");
  const have = new Set([...list.children].map((each) => each.dataset.id));
  for (const item of page.querySelectorAll(".card")) {
    if (have.has(item.dataset.id) || moved.has(item.dataset.id)) continue;
    list.insertBefore(item, spot(list, sinceOf(item), item.dataset.id));
  }
  tell(column);
  age();
}

const filling = new Set();

// Fetches the cards that came up from behind in a column.
function fill(state) {
  if (filling.has(state)) return;
  filling.add(state);
  setTimeout(async () => {
    try {
      await fetchCards(state, new URLSearchParams({ start: 0, limit: STEP }));
    } catch {
      // the server is away: live.js says so, and the next move asks again
    } finally {
      filling.delete(state);
    }
  }, REFILL_MS);
}

let isStale = false;
let isFetching = false;

// What cannot be told by moves alone (a search, a board that was away for long) is fetched.
async function reload() {
  isStale = true;
  if (isFetching) return;
  isFetching = true;
  while (isStale) {
    await new Promise((done) => setTimeout(done, REFILL_MS));
    isStale = false;
    const answer = await fetched(location.href).catch(() => null); // the server is away: live.js says so
    if (answer?.page.getElementById("board")) renew(answer);
    else isStale = true;
  }
  isFetching = false;
}

// Shows what was fetched, and again what moved meanwhile. A column that stays is the same element as before, so that
// nobody's press on its button meets one that is no longer there.
function renew({ page, moved }) {
  const focused = document.activeElement?.closest?.(".card")?.dataset.id;
  const board = document.getElementById("board");
  const fresh = [...page.querySelectorAll(".column")];
  const states = new Set(fresh.map((each) => each.dataset.state));
  main.querySelectorAll(".notice").forEach((each) => each.remove());
  board.before(...page.querySelectorAll("main > .notice"));
  columns().filter((each) => !states.has(each.dataset.state)).forEach((each) => each.remove());
  fresh.forEach((column, at) => {
    const known = columnOf(column.dataset.state);
    if (!known) return board.insertBefore(column, columns()[at] ?? null);
    known.dataset.total = column.dataset.total;
    known.querySelector("ul").replaceChildren(...column.querySelector("ul").children);
    tell(known);
    if (known.dataset.most) lengthen(known, Number(known.dataset.most));
  });
  write(document.getElementById("needs"), page.getElementById("needs").textContent);
  if (focused) main.querySelector(`.card[data-id="${CSS.escape(focused)}"] a`)?.focus();
  age();
  takeIn([...moved]);
}

// Shows as many cards of a column as asked for, and notes it, so that it stays as long when the board is fetched anew.
async function lengthen(column, most) {
  column.dataset.most = most;
  const start = column.querySelector("ul").children.length;
  if (start >= most) return;
  const query = new URLSearchParams(filter);
  query.set("start", start);
  query.set("limit", most - start);
  try {
    await fetchCards(column.dataset.state, query);
  } catch {
    column.querySelector(".rest span").textContent = "no answer: press again";
  }
}

main.addEventListener("click", (event) => {
  const column = event.target.closest(".more")?.closest(".column");
  if (column) lengthen(column, column.querySelector("ul").children.length + STEP);
});
