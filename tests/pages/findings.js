// What is wrong with the page as it stands: a list of descriptions for each kind of fault.
() => {
  const content = document.querySelector(".content") ?? document.body;
  const all = (selector, root = content) => [...root.querySelectorAll(selector)];
  const text = (element) => (element.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 80);

  // Texts of the page outside of code and of rendered formulas.
  function* prose() {
    const walker = document.createTreeWalker(content, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      if (!walker.currentNode.parentElement.closest("pre, code, script, style, mjx-container")) yield walker.currentNode;
    }
  }

  function unrenderedFormulas() {
    const plain = all(".math").filter((element) => !element.querySelector("mjx-container"));
    // an unknown command is red, and a line break within a line is a command that was cut in two
    const broken = all('mjx-merror, mjx-container [mathcolor="red"], mjx-container [linebreak="newline"]');
    const source = [...prose()].filter((node) => /\$[^$]*[\\_^][^$]*\$|\\[a-z]+\{|\\[([]/.test(node.data));
    return [...plain, ...broken, ...source].map(text);
  }

  // Boxes that scroll sideways on their own may hold what is wider than the screen.
  function scrollsAlone(element) {
    for (let box = element.parentElement; box && box !== content; box = box.parentElement) {
      if (getComputedStyle(box).overflowX !== "visible") return true;
    }
    return false;
  }

  function lines(cell) {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const tops = [...range.getClientRects()].map((rect) => rect.top).sort((a, b) => a - b);
    return tops.filter((top, i) => i === 0 || top - tops[i - 1] > 8).length;
  }

  // A cell is too narrow if its text takes more than two lines of fewer than eight characters on average, or if a number
  // is broken in two.
  function isTooNarrow(cell) {
    if (cell.querySelector("mjx-container")) return false;
    const count = lines(cell);
    return (count > 2 && cell.innerText.length / count < 8) || splits(cell, /[\d.,]+(e[+-]\d+)?/g);
  }

  // Whether a match of the pattern begins on one line and ends on another.
  function splits(element, pattern) {
    const words = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (words.nextNode()) {
      for (const word of words.currentNode.data.matchAll(pattern)) {
        const range = document.createRange();
        range.setStart(words.currentNode, word.index);
        range.setEnd(words.currentNode, word.index + word[0].length);
        if (new Set([...range.getClientRects()].map((rect) => rect.top)).size > 1) return true;
      }
    }
    return false;
  }

  const isTooWide = (element) => element.getBoundingClientRect().right > innerWidth + 1 && !scrollsAlone(element);
  const isBroken = (image) => !image.complete || !image.naturalWidth;
  return {
    formulas: unrenderedFormulas(),
    code: all("pre").filter((pre) => pre.scrollWidth > pre.clientWidth + 1).map(text),
    wide: all("*").filter(isTooWide).map((element) => `${element.tagName} ${text(element)}`),
    narrow: all("td, th").filter(isTooNarrow).map(text),
    headings: all("h1, h2, h3, h4").filter((heading) => splits(heading, /\w+/g)).map(text),
    pictures: all("img", document).filter((image) => isBroken(image) || !image.alt.trim()).map((image) => image.src),
    links: all("a[href]", document).map((link) => link.href),
    anchors: all("[id]", document).map((element) => element.id),
  };
}
