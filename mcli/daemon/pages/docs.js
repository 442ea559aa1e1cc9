"use strict";

// The token stays in this tab: sessionStorage is nobody's but this origin's, and no cookie.
const KEPT = "mcli-token";

async function signIn() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", location.pathname);
  const answer = await fetch("/v1/login", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ code }),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.detail);
  sessionStorage.setItem(KEPT, told.token);
}

async function show() {
  const token = sessionStorage.getItem(KEPT);
  if (!token) return ask("");
  const bearer = { Authorization: "Bearer " + token };
  const answer = await fetch("/openapi.json", { headers: bearer });
  const told = await answer.json();
  if (answer.status === 401) sessionStorage.removeItem(KEPT);
  if (!answer.ok) return ask(told.detail);
  document.getElementById("sign-in").hidden = true;
  SwaggerUIBundle({
    spec: told,
    domNode: document.getElementById("api"),
    deepLinking: false,
    validatorUrl: null,
    requestInterceptor(request) {
      if (new URL(request.url, location.href).origin === location.origin) {
        Object.assign(request.headers, bearer);
      }
      return request;
    },
  });
}

function ask(why) {
  document.getElementById("why").textContent = why;
  document.getElementById("sign-in").hidden = false;
  document.getElementById("token").focus();
}

function report(error) {
  ask(error.message);
}

document.getElementById("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("token");
  sessionStorage.setItem(KEPT, field.value.trim());
  field.value = "";
  show().catch(report);
});

addEventListener("hashchange", () => signIn().then(show).catch(report));
signIn().then(show).catch(report);
