// Shows new work without reloading the page: asks now and then whether the list has changed, and puts the
// list of a fresh page in place of the old one. Without this script the page shows the same when it is reloaded.
"use strict";
(() => {
  const every = 10000;
  const news = document.getElementById("work-news");
  const find = (page) => page.getElementById("work");
  const isBusy = (list) => list.contains(document.activeElement) || list.querySelector(":checked[type=checkbox]");
  const ask = (path, type) => new Promise((done) => {
    const call = new XMLHttpRequest();
    call.open("GET", path);
    call.responseType = type;
    call.setRequestHeader("X-Refresh", "1"); // does not prolong the session
    call.onloadend = () => done(call.status === 200 && call.responseURL.includes(path) ? call.response : null);
    call.send();
  });
  const look = async () => {
    const list = find(document);
    if (!list || document.hidden) return;
    const mark = await ask("/console/work/mark", "text");
    if (!mark || mark === list.dataset.mark) return;
    if (isBusy(list)) { news.textContent = list.dataset.said; return; }
    const page = await ask(location.pathname + location.search, "document");
    const fresh = page && find(page);
    if (!fresh || isBusy(list)) return;
    list.replaceWith(document.adoptNode(fresh));
    news.textContent = fresh.dataset.said;
  };
  setInterval(look, every);
})();
