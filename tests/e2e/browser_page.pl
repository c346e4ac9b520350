# browser_page.pl REPORT.html: a page that shows the report, as it is, in frames of 1100 and
# 400 pixels, and then says in one line of JSON what a reader would see.
use strict;
use warnings;
open my $in, "<", $ARGV[0] or die "$ARGV[0]: $!";
local $/;
my $report = <$in>;
$report =~ s/&/&amp;/g;
$report =~ s/"/&quot;/g;
print qq{<!doctype html><meta charset="utf-8"><title>frames</title><body>\n};
print qq{<iframe width="$_" height="1200" frameborder="0" srcdoc="$report"></iframe>\n}
    for 1100, 400;
print <<'PAGE';
<script>
function look(frame) {
    const page = frame.contentDocument, root = page.documentElement;
    const images = [...page.images], width = root.clientWidth;
    const inside = e => { // scrolls in a box of its own
        for (let p = e.parentElement; p && p !== page.body; p = p.parentElement)
            if (["auto", "scroll"].includes(frame.contentWindow.getComputedStyle(p).overflowX))
                return true;
        return false;
    };
    const wide = [...page.body.querySelectorAll("*")].filter(e =>
        e.getBoundingClientRect().right > width + 1 && !inside(e));
    return {
        width, images: images.length,
        broken: images.filter(i => !i.complete || i.naturalWidth < 1).length,
        pictures: images.filter(i => i.src.startsWith("data:image/png")).length,
        tiny: images.filter(i => i.clientWidth < 8 || i.clientHeight < 8).length,
        maps: page.querySelectorAll(".map").length,
        curves: page.querySelectorAll("polyline").length,
        letters: page.querySelectorAll("code").length,
        unnamed: images.filter(i => !i.alt).length +
            page.querySelectorAll("svg:not([aria-label])").length,
        overflow: root.scrollWidth - root.clientWidth,
        wide: wide.slice(0, 5).map(e => e.tagName + "." + e.className),
        loaded: [...page.querySelectorAll("[src], [href], link, script, iframe, object")]
            .map(e => e.src || e.href || e.tagName)
            .concat(frame.contentWindow.performance.getEntriesByType("resource")
                .map(r => r.name))
            .filter(n => !n.startsWith("data:")),
        heads: [...page.querySelectorAll("h2")].map(h => h.textContent),
    };
}
addEventListener("load", () => {
    const all = [...document.querySelectorAll("iframe")].map(look);
    const said = document.createElement("pre");
    said.textContent = "seen " + JSON.stringify(all) + " end";
    document.body.replaceChildren(said);
});
</script>
PAGE
