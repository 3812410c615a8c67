"""Scripts that find in a page what a reader would see to be wrong."""

from __future__ import annotations

# Images and plots that are out of shape or cut off, each as a line of text. An image may be smaller than its box where
# it is fitted into it whole; what is drawn of it must lie within everything that hides what leaves its bounds.
CUT_OR_DISTORTED = """() => [...document.querySelectorAll('img, svg.marks')].flatMap(image => {
    const box = image.getBoundingClientRect(), style = getComputedStyle(image), plot = image.matches('svg');
    if (!(plot || image.naturalWidth) || !box.width || !box.height || style.visibility === 'hidden') return [];
    const name = `${plot ? 'plot' : image.src.slice(-40)} ${box.width} x ${box.height} (${style.objectFit})`;
    const natural = plot ? box.width / box.height : image.naturalWidth / image.naturalHeight;
    if (!plot && !['contain', 'scale-down'].includes(style.objectFit)) {
        if (Math.abs(box.width / box.height / natural - 1) > 0.03) return [`out of shape or cut: ${name}`];
    }
    const width = Math.min(box.width, box.height * natural), height = Math.min(box.height, box.width / natural);
    const left = box.left + (box.width - width) / 2, top = box.top + (box.height - height) / 2;
    for (let around = image.parentElement; around !== document.body; around = around.parentElement) {
        const outside = getComputedStyle(around), bounds = around.getBoundingClientRect();
        const across = outside.overflowX !== 'visible', down = outside.overflowY !== 'visible';
        if (across && (left < bounds.left - 2 || left + width > bounds.right + 2)) return [`cut at a side: ${name}`];
        if (down && (top < bounds.top - 2 || top + height > bounds.bottom + 2)) return [`cut above or below: ${name}`];
    }
    return [];
})"""

# Text that is hard to read, by the contrast that the Web Content Accessibility Guidelines ask for (AA): 4.5, and 3
# where it is large. Each is a line of text; disabled controls do not count.
HARD_TO_READ = """() => {
    const painter = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = color => {
        painter.clearRect(0, 0, 1, 1);
        painter.fillStyle = color;
        painter.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = painter.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => top.slice(0, 3).map((value, i) => value * top[3] + below[i] * (1 - top[3]));
    const light = color => {
        const [r, g, b] = color.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
        return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const found = new Set();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
        const box = element.getBoundingClientRect(), style = getComputedStyle(element);
        if (!/[\\p{L}\\p{N}]/u.test(text)) continue;
        if (!element.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
        if (box.width < 2 || box.height < 2 || element.closest('[disabled], script, style, .sr-only')) continue;
        const ground = behind(element), ink = over(rgba(style.color), ground);
        const [dark, bright] = [light(ground), light(ink)].sort((a, b) => a - b);
        const contrast = (bright + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && parseInt(style.fontWeight) >= 700);
        if (contrast < (large ? 3 : 4.5)) found.add(`${contrast.toFixed(2)}: ${text.slice(0, 40)} (${style.color})`);
    }
    return [...found];
}"""
