// What makes the console's pages livelier. Each of them works without it.
"use strict";

// Times are written in UTC; here they become those of the reader's own zone.
function localTimes(root) {
  const form = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const t of root.querySelectorAll("time[datetime]")) {
    const at = new Date(t.dateTime);
    if (!Number.isNaN(at.getTime())) {
      t.title = t.textContent;
      t.textContent = ("seconds" in t.dataset ? exact : form).format(at);
    }
  }
}

// On a narrow screen the rows of a table become cards, which the style sheet makes of them.
// Each cell then says which column it is of; and a table stays one for who does not see it.
function cards(root) {
  for (const table of root.querySelectorAll(".scroll > table")) {
    if (!table.tHead || table.tHead.rows.length !== 1) continue;
    table.classList.add("cards");
    table.setAttribute("role", "table");
    const heads = [...table.tHead.rows[0].cells];
    for (const part of [table.tHead, ...table.tBodies]) part.setAttribute("role", "rowgroup");
    for (const row of table.rows) {
      row.setAttribute("role", "row");
      [...row.cells].forEach((cell, i) => {
        cell.setAttribute("role", cell.tagName === "TD" ? "cell" : cell.scope === "row" ? "rowheader" : "columnheader");
        if (cell.tagName === "TH") return;
        const sole = heads[i]?.classList.contains("bare") || cell.childElementCount === 1 && cell.firstElementChild.matches("input, .status"); // it says what it is
        if (sole) cell.classList.add("sole");
        if (cell.textContent.trim() === "" && !cell.querySelector("*")) cell.textContent = "";
        cell.dataset.label = heads[i] ? heads[i].textContent.trim() : "";
        if (!cell.dataset.label) delete cell.dataset.label;
      });
    }
  }
}

// A box in the head of a table chooses all of its column.
for (const all of document.querySelectorAll("input[data-choose]")) {
  const boxes = () => [...all.form.querySelectorAll(`input[type=checkbox][name="${all.dataset.choose}"]`)];
  const show = () => {
    const chosen = boxes().filter((b) => b.checked).length;
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
  };
  all.hidden = false;
  all.addEventListener("change", () => { for (const b of boxes()) b.checked = all.checked; });
  all.form.addEventListener("change", (e) => { if (e.target !== all) show(); });
  show();
}

// Parts with data-live="n" are loaded anew every n seconds, the page once for all
// of them, while it is looked at. A part that somebody types in is left alone; whoever is
// on a link or a button of it is on the same one afterwards, or if that is gone, on the part.
function live() {
  const parts = [...document.querySelectorAll("[data-live]")];
  if (parts.length === 0) return;
  const pause = 1000 * Math.min(...parts.map((p) => Number(p.dataset.live) || 60));
  setTimeout(async () => {
    await renew(parts).catch(() => {}); // the server is away; it may come back
    live();
  }, pause);
}

async function renew(parts) {
  if (document.hidden) return;
  const answer = await fetch(location.href, { headers: { "X-Live": "1" }, credentials: "same-origin" });
  if (answer.status === 401) return location.reload(); // the session is over
  if (!answer.ok) return;
  if (answer.redirected) return location.replace(answer.url); // what was waited for is there
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  localTimes(page);
  cards(page);
  for (const part of parts) {
    const fresh = page.getElementById(part.id), at = part.contains(document.activeElement) ? document.activeElement : null;
    if (!fresh || edited(part) || at?.matches("input, textarea, select") || fresh.outerHTML === (shown.get(part) || part.outerHTML)) continue;
    if (fresh.dataset.say && fresh.dataset.say !== part.dataset.say) document.getElementById("heard").textContent = fresh.dataset.say;
    const next = at && (same(at, part, fresh) || fresh);
    shown.set(fresh, fresh.outerHTML);
    for (const open of part.querySelectorAll("details[open][id]")) fresh.querySelector("#" + CSS.escape(open.id))?.setAttribute("open", "");
    if (next === fresh && !fresh.hasAttribute("tabindex")) fresh.tabIndex = -1;
    part.replaceWith(document.adoptNode(fresh));
    if (next) next.focus({ preventScroll: true });
  }
}

const shown = new WeakMap(); // a part that was renewed: what came

// edited reports whether somebody has written or chosen something in a part.
function edited(part) {
  return [...part.querySelectorAll("input, textarea")].some((f) => f.value !== f.defaultValue || f.checked !== f.defaultChecked);
}

// same returns what is in a fresh part in the place of a link or button of the part before.
function same(at, part, fresh) {
  const key = (e) => e.getAttribute("href") || e.getAttribute("formaction") || e.form?.getAttribute("action") || e.getAttribute("aria-label");
  const alike = (root) => [...root.querySelectorAll(at.tagName)].filter((e) => key(e) === key(at));
  return alike(fresh)[alike(part).indexOf(at)];
}

// The key / goes to the search of a page, or to that of all.
document.addEventListener("keydown", (e) => {
  if (e.key !== "/" || e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select")) return;
  const search = document.querySelector("main input[type=search]") || document.querySelector("input[type=search]");
  if (search) { e.preventDefault(); search.focus(); }
});

// A form with data-search="id" looks for what is typed into its search, and shows
// what comes in the element of that id.
for (const form of document.querySelectorAll("form[data-search]")) {
  const search = form.querySelector("input[type=search]");
  let timer, turn = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const mine = ++turn;
      const data = new FormData(form);
      data.delete("csv");
      data.set("step", "find");
      try {
        const answer = await fetch(form.action, { method: "POST", body: data, headers: { "X-Live": "1" }, credentials: "same-origin" });
        if (!answer.ok || mine !== turn) return;
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById(form.dataset.search);
        if (fresh) document.getElementById(form.dataset.search).replaceChildren(...fresh.childNodes);
      } catch {
        // the button finds as well
      }
    }, 250);
  });
  search.addEventListener("keydown", (e) => {
    if (e.key === "Enter") e.preventDefault(); // it is looked for already
  });
}

// The switch of tenants closes by Escape, and when the keyboard or a click leaves it.
const tenants = document.querySelector("details.switch");
if (tenants) {
  const leave = (e) => { if (!tenants.contains(e.relatedTarget || e.target)) tenants.open = false; };
  document.addEventListener("click", leave);
  tenants.addEventListener("focusout", (e) => { if (e.relatedTarget) leave(e); });
  document.addEventListener("keydown", (e) => {
    if (e.key !== "Escape" || !tenants.open) return;
    tenants.open = false;
    tenants.querySelector("summary").focus();
  });
}

// What is not undone with a click is asked about.
document.addEventListener("submit", (e) => {
  const question = (e.submitter || e.target).dataset.confirm;
  if (question && !confirm(question)) e.preventDefault();
});

localTimes(document);
cards(document);
live();
