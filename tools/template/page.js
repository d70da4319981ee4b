// What a page does without a kernel: it holds answers back until the reader has guessed, keeps the score, folds code.
// Where scripts do not run, everything is there to be read, and no form is.
(() => {
  "use strict";

  document.documentElement.classList.add("js"); // before anything is drawn, so that no answer flashes up

  // What the reader did, on all pages. Where the browser keeps nothing, it is remembered while this page is open.
  const KEY = "mnistlab";
  let memory = {};

  function kept() {
    try {
      memory = JSON.parse(localStorage.getItem(KEY)) ?? memory;
    } catch {
      // as it was
    }
    return { code: "shown", guesses: {}, ...memory };
  }

  function keep(changes) {
    memory = { ...kept(), ...changes };
    try {
      localStorage.setItem(KEY, JSON.stringify(memory));
    } catch {
      // then for this page only
    }
  }

  // A guess is {said, right}: `said` is the number of a choice or a text, nothing where the reader only looked;
  // `right` is missing as long as nobody has judged.
  const guessOf = (form) => kept().guesses[form.dataset.name];
  const record = (form, guess) => keep({ guesses: { ...kept().guesses, [form.dataset.name]: guess } });

  function showScore() {
    const guesses = Object.values(kept().guesses);
    const judged = guesses.filter((guess) => "right" in guess);
    const right = judged.filter((guess) => guess.right).length;
    document.querySelector(".score").textContent = judged.length ? `Guessed right: ${right} of ${judged.length}` : "";
    document.querySelector("[data-does=forget]").hidden = !guesses.length;
    return `${right} of ${judged.length}`;
  }

  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  // Only the reader can tell whether a guess in words was right: asked after the text has said what comes out.
  function askForJudgement(form, held) {
    const judge = (right) => element("button", {
      type: "button",
      textContent: right ? "I had it" : "Not quite",
      onclick() {
        record(form, { ...guessOf(form), right });
        settle(form);
        row.textContent = form.querySelector(".verdict").textContent;
        row.focus(); // the button that had it is gone
      },
    });
    const said = `You guessed: “${guessOf(form).said}” `;
    const row = element("p", { className: "judge", tabIndex: -1 }, said, judge(true), " ", judge(false));
    const reading = held.querySelector(":scope > p") ?? held.lastElementChild;
    reading.after(row);
  }

  // Brings a form, and what it holds back, to what is known of the guess.
  function settle(form) {
    const guess = guessOf(form);
    const score = showScore();
    if (!guess) return;
    const [verdict, held] = [form.querySelector(".verdict"), form.nextElementSibling];
    const choices = form.querySelectorAll("input[type=radio]");
    const answer = choices[form.dataset.right];
    form.classList.add("settled");
    held.classList.add("shown");
    for (const field of form.querySelectorAll("input")) field.disabled = true;
    answer?.parentElement.classList.add("answer");
    if ("said" in guess) {
      if (answer) choices[guess.said].checked = true;
      else form.querySelector("input").value = guess.said;
    }
    if ("right" in guess) {
      verdict.textContent = `${guess.right ? "Right" : "Not this time"}: ${score} so far.`;
      verdict.classList.toggle("right", guess.right);
    } else if ("said" in guess) {
      verdict.textContent = "Read on, and judge for yourself.";
      if (!held.querySelector(":scope > .judge")) askForJudgement(form, held);
    } else {
      verdict.textContent = "Not counted.";
    }
  }

  function commit(form) {
    const said = new FormData(form).get("said");
    const { right } = form.dataset;
    record(form, right === undefined ? { said } : { said: Number(said), right: said === right });
    settle(form);
    form.querySelector(".verdict").focus(); // the button that had it is gone
  }

  function show(form) {
    record(form, {});
    settle(form);
    form.querySelector(".verdict").focus();
  }

  function foldCode(shown) {
    for (const cell of document.querySelectorAll("details.code:not(.check)")) cell.open = shown;
    document.querySelector("[data-does=foldCode]").textContent = shown ? "Hide code" : "Show code";
  }

  addEventListener("DOMContentLoaded", () => {
    const forms = [...document.querySelectorAll("form.guess")];
    const does = {
      showAll() {
        for (const form of forms) {
          if (!guessOf(form)) record(form, {});
          settle(form);
        }
      },
      foldCode() {
        const shown = kept().code === "hidden";
        keep({ code: shown ? "shown" : "hidden" });
        foldCode(shown);
      },
      forget() {
        if (!confirm("Forget all guesses, on all pages, and begin again?")) return;
        keep({ guesses: {} });
        location.reload();
      },
    };
    for (const button of document.querySelectorAll(".tools button")) button.onclick = does[button.dataset.does];
    for (const form of forms) {
      form.onsubmit = (event) => {
        event.preventDefault();
        commit(form);
      };
      form.querySelector("[data-does=show]").onclick = () => show(form);
      settle(form);
    }
    showScore();
    if (forms.length && kept().code === "hidden") foldCode(false);
  });
})();
