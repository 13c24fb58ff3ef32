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
let pending = new Map(); // what became of the cards that moved, as long as it is not drawn
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

const isWhole = (column) => column.querySelector("ul").children.length >= Number(column.dataset.total);

// How often a column lost its end: what was asked for behind that end is of no use then.
const cuts = new WeakMap();
const cutsOf = (column) => cuts.get(column) ?? 0;
const cut = (column) => cuts.set(column, cutsOf(column) + 1);

// Puts a card in if it comes among those that are shown, which are the first of the column, or all of it.
function place(card, whole) {
  const column = columnOf(card.state);
  if (!column) return reload();
  const list = column.querySelector("ul");
  const item = drawn(card);
  const before = spot(list, `${card.since}Z`, card.id);
  if (!before && !whole.has(column)) return;
  list.insertBefore(item, before);
  if (told <= CALM) item.classList.add("new");
  if (list.children.length <= mostOf(column)) return;
  list.lastElementChild.remove();
  whole.delete(column);
  cut(column);
}

function make() {
  if (!pending.size) return; // a newer board was fetched meanwhile
  const focused = document.activeElement?.closest?.(".card")?.dataset.id;
  const whole = new Set(columns().filter(isWhole));
  for (const [id, card] of pending) {
    main.querySelectorAll(`.card[data-id="${CSS.escape(id)}"]`).forEach((each) => each.remove());
    if (card) place(card, whole);
  }
  pending = new Map();
  for (const column of columns()) {
    column.dataset.total = counts[column.dataset.state] ?? 0;
    tell(column);
    if (column.querySelector("ul").children.length < Math.min(STEP / 2, Number(column.dataset.total))) fill(column);
  }
  write(document.getElementById("needs"), Object.values(needs).reduce((sum, each) => sum + each, 0));
  document.getElementById("empty")?.remove();
  focus(focused);
  age();
}

function focus(id) {
  if (id) main.querySelector(`.card[data-id="${CSS.escape(id)}"] a`)?.focus();
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
events.addEventListener("state", (event) => {
  const { away } = JSON.parse(event.data);
  if (!away && main.querySelector(".notice:not(#empty)")) reload(); // it says that the database cannot be read, or not yet
});

function takeIn(moves) {
  if (!pending.size && moves.length) requestAnimationFrame(make);
  moves.forEach((move) => pending.set(...move));
}

const flights = new Set(); // for all that is being fetched, what moved since: what comes may be older than that

// Returns pages, and what moved since they were asked for.
async function fetched(addresses) {
  const moved = new Map();
  flights.add(moved);
  try {
    return { pages: await Promise.all(addresses.map((each) => fetchPage(each))), moved };
  } finally {
    flights.delete(moved);
  }
}

// The address of the next cards of a column: behind its last one, or of the first.
function addressOf(column, limit, last = null) {
  const query = new URLSearchParams(filter);
  query.set("limit", limit);
  if (last) query.set("since", sinceOf(last).slice(0, -1));
  if (last) query.set("id", last.dataset.id);
  return `/column/${encodeURIComponent(column.dataset.state)}?${query}`;
}

// Fetches the next cards of a column. What stands elsewhere has moved, of which the line of events will tell.
async function fetchCards(column, limit) {
  const list = column.querySelector("ul");
  const end = cutsOf(column);
  const { pages: [page], moved } = await fetched([addressOf(column, limit, list.lastElementChild)]);
  if (cutsOf(column) !== end) return;
  const have = new Set([...main.querySelectorAll(".card")].map((each) => each.dataset.id));
  for (const item of page.querySelectorAll(".card")) {
    const id = item.dataset.id;
    if (!have.has(id) && !moved.has(id) && !pending.has(id)) list.insertBefore(item, spot(list, sinceOf(item), id));
  }
  const total = Number(page.querySelector("ul").dataset.total);
  column.dataset.total = moved.size ? Math.max(total, Number(column.dataset.total)) : total;
  tell(column);
  age();
  takeIn([...moved]);
}

const filling = new Set();

// Fetches the cards that came up from behind in a column.
function fill(column) {
  if (filling.has(column)) return;
  filling.add(column);
  setTimeout(async () => {
    try {
      await fetchCards(column, STEP);
    } catch {
      // the server is away: live.js says so, and the next move asks again
    } finally {
      filling.delete(column);
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
    const longer = columns().filter((each) => mostOf(each) > STEP);
    const addresses = [location.href, ...longer.map((each) => addressOf(each, mostOf(each)))];
    const answer = await fetched(addresses).catch(() => null); // the server is away: live.js says so
    if (answer?.pages[0].getElementById("board")) renew(answer, longer);
    else isStale = true;
  }
  isFetching = false;
}

// Shows what was fetched, and again what moved meanwhile. What stays is the same element as before, so that nobody's
// press meets one that is no longer there.
function renew({ pages: [page, ...lists], moved }, longer) {
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
    const list = (lists[longer.indexOf(known)] ?? column).querySelector("ul");
    known.dataset.total = list.dataset.total ?? column.dataset.total;
    replace(known.querySelector("ul"), [...list.children]);
    cut(known);
    tell(known);
    if (known.dataset.most) lengthen(known, Number(known.dataset.most));
  });
  write(document.getElementById("needs"), page.getElementById("needs").textContent);
  focus(focused);
  age();
  pending = new Map(); // the page is newer than that
  takeIn([...moved]);
}

// What a card says, but for how long it has been so, which grows by itself.
function saying(item) {
  const copy = item.cloneNode(true);
  copy.querySelector(".age").remove();
  copy.classList.remove("new");
  return [copy.className, copy.textContent.replace(/\s/g, ""), sinceOf(item)].join("\n");
}

function replace(list, items) {
  const known = new Map([...list.children].map((each) => [each.dataset.id, each]));
  const wanted = items.map((item) => {
    const old = known.get(item.dataset.id);
    return old && saying(old) === saying(item) ? old : item;
  });
  const kept = new Set(wanted);
  known.forEach((each) => kept.has(each) || each.remove());
  wanted.forEach((each, at) => list.children[at] === each || list.insertBefore(each, list.children[at] ?? null));
}

// Shows as many cards of a column as asked for, and notes it, so that it stays as long when the board is fetched anew.
async function lengthen(column, most) {
  column.dataset.most = most;
  const shown = column.querySelector("ul").children.length;
  if (shown >= most || isWhole(column)) return;
  try {
    await fetchCards(column, most - shown);
  } catch {
    column.querySelector(".rest span").textContent = "no answer: press again";
  }
}

main.addEventListener("click", (event) => {
  const column = event.target.closest(".more")?.closest(".column");
  if (column) lengthen(column, column.querySelector("ul").children.length + STEP);
});
