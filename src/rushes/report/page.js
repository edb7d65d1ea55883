(() => {
  const viewer = document.getElementById("viewer");
  const stage = viewer.querySelector(".stage");
  const cards = [...document.querySelectorAll(".card")];
  let at = 0;
  const play = (film, unplayed) => {
    let tried = false;
    const other = () => {  // what this browser cannot play, the server encodes
      if (tried) { film.hidden = true; unplayed.hidden = false; return; }
      tried = true;
      film.src = film.dataset.made;
      film.play().catch(() => {});
    };
    film.addEventListener("error", other);
    film.addEventListener("loadedmetadata", () => { if (!film.videoWidth) other(); });
    film.play().catch(() => {});
  };
  const show = (index) => {
    at = (index + cards.length) % cards.length;
    const film = cards[at].querySelector(".film");
    const picture = (film ?? cards[at].querySelector("img, .noframe")).cloneNode(true);
    const more = cards[at].querySelector(".more").cloneNode(true);
    picture.hidden = more.hidden = false;
    stage.replaceChildren(picture, more);
    stage.scrollTop = 0;
    if (film) play(picture, more.querySelector(".unplayed"));
  };
  cards.forEach((card, index) => card.querySelector(".open").addEventListener("click", () => { show(index); viewer.showModal(); }));
  viewer.querySelectorAll("[data-go]").forEach((button) => button.addEventListener("click", () => show(at + Number(button.dataset.go))));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("close", () => stage.replaceChildren());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    if (event.key === "ArrowRight") show(at + 1);
  });
})();
