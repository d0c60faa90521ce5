// Passkeys: the only part of the console that needs a script.
// A form says by an attribute what its passkey does:
//   data-passkey-options="JSON"   the options of navigator.credentials, given by the page
//   data-passkey-fetch="/path"    the options are fetched when the form is sent
//   data-passkey="create"         a new passkey is made; without it, one is used
// The answer goes into the field `passkey_answer`, and the form is sent as any other. A button with
// data-passkey-skip sends the form without one. A form that is `hidden` is shown where passkeys work.
"use strict";
(() => {
  const decode = (text) => {
    const padded = text.replace(/-/g, "+").replace(/_/g, "/");
    return Uint8Array.from(atob(padded), (one) => one.charCodeAt(0));
  };
  const encode = (buffer) => {
    const text = String.fromCharCode(...new Uint8Array(buffer));
    return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const decodeIds = (list) => (list || []).map((one) => ({ ...one, id: decode(one.id) }));

  const makePasskey = async (told) => {
    const user = { ...told.user, id: decode(told.user.id) };
    const excluded = decodeIds(told.excludeCredentials);
    const publicKey = { ...told, user, challenge: decode(told.challenge), excludeCredentials: excluded };
    const made = await navigator.credentials.create({ publicKey });
    return describeCredential(made, {
      clientDataJSON: encode(made.response.clientDataJSON),
      attestationObject: encode(made.response.attestationObject),
    });
  };
  const usePasskey = async (told) => {
    const allowed = decodeIds(told.allowCredentials);
    const publicKey = { ...told, challenge: decode(told.challenge), allowCredentials: allowed };
    const used = await navigator.credentials.get({ publicKey });
    const response = {
      clientDataJSON: encode(used.response.clientDataJSON),
      authenticatorData: encode(used.response.authenticatorData),
      signature: encode(used.response.signature),
    };
    if (used.response.userHandle) response.userHandle = encode(used.response.userHandle);
    return describeCredential(used, response);
  };
  const describeCredential = (one, response) =>
    JSON.stringify({ id: one.id, rawId: encode(one.rawId), type: one.type, response });

  const readOptions = async (form) => {
    if (form.dataset.passkeyOptions) return JSON.parse(form.dataset.passkeyOptions);
    const token = form.elements.form_token ? { "X-Form-Token": form.elements.form_token.value } : {};
    const answer = await fetch(form.dataset.passkeyFetch, { method: "POST", headers: token });
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  };

  const answerForm = async (form, submitter) => {
    const told = form.querySelector("[data-passkey-told]");
    told.textContent = told.dataset.waiting;
    try {
      const options = await readOptions(form);
      const making = form.dataset.passkey === "create";
      form.elements.passkey_answer.value = await (making ? makePasskey(options) : usePasskey(options));
    } catch {
      told.textContent = told.dataset.failed;
      return;
    }
    form.requestSubmit(submitter);
  };

  const forms = [...document.querySelectorAll("form[data-passkey-options], form[data-passkey-fetch]")];
  for (const form of forms) {
    if (!window.PublicKeyCredential) {
      const told = form.querySelector("[data-passkey-told]");
      told.textContent = told.dataset.missing;
      continue;
    }
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      const button = event.submitter;
      if (form.elements.passkey_answer.value || (button && "passkeySkip" in button.dataset)) return;
      event.preventDefault();
      answerForm(form, button);
    });
  }
  // An answer is good once: a page that comes back from the history asks for a new one.
  window.addEventListener("pageshow", () => {
    for (const form of forms) form.elements.passkey_answer.value = "";
  });
})();
