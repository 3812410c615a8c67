"""The page `renoise web`: edit images in a browser (extra `web`).

A consumer of `renoise.Editor`. `studio` does the work and knows nothing of the page; of the other modules only `page`,
`controls`, `events`, `api`, `guard` and `server` import Gradio.
"""
