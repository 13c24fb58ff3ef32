// Fetches the page again every second and puts its main part in place, so that scroll and focus stay where they are.
// While somebody has marked a text, in order to copy it, or is at a link with the keyboard, the page is left as it is.
"use strict";

const PERIOD_MS = 1000;
const live = document.getElementById("live");
const freshness = document.getElementById("freshness");

function isInUse() {
  return !document.getSelection().isCollapsed || (document.activeElement.tagName === "A" && live.contains(document.activeElement));
}

function put(page) {
  const scrolled = new Map([...live.querySelectorAll("section[id]")].map((each) => [each.id, each.querySelector(".wide")?.scrollLeft ?? 0]));
  live.replaceChildren(...page.getElementById("live").childNodes);
  for (const section of live.querySelectorAll("section[id]")) {
    const wide = section.querySelector(".wide");
    if (wide) wide.scrollLeft = scrolled.get(section.id) ?? 0;
  }
}

async function refresh() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (isInUse()) {
      freshness.textContent = "waiting while you mark or follow something";
    } else {
      put(page);
      freshness.textContent = answer.ok ? "live" : answer.status === 404 ? "" : "database away";
    }
  } catch {
    freshness.textContent = "no answer from the dashboard; trying again";
  }
  setTimeout(refresh, PERIOD_MS);
}

setTimeout(refresh, PERIOD_MS);
