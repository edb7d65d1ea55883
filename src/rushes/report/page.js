(() => {
  const viewer = document.getElementById("viewer");
  const stage = viewer.querySelector(".stage");
  const cards = [...document.querySelectorAll(".card")];
  let at = 0;
  const show = (index) => {
    at = (index + cards.length) % cards.length;
    const picture = cards[at].querySelector("img, .noframe").cloneNode(true);
    const more = cards[at].querySelector(".more").cloneNode(true);
    more.hidden = false;
    stage.replaceChildren(picture, more);
    stage.scrollTop = 0;
  };
  cards.forEach((card, index) => card.querySelector(".open").addEventListener("click", () => { show(index); viewer.showModal(); }));
  viewer.querySelectorAll("[data-go]").forEach((button) => button.addEventListener("click", () => show(at + Number(button.dataset.go))));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
})();
