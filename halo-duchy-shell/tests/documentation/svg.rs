//! Pictures of boxes, arrows and lines of life, as SVG that is the same wherever it is made.

use std::fmt::Write as _;

/// Colours that can be read on white, which every picture brings with it: pages may be dark.
const INK: &str = "#1f2937";
const FAINT: &str = "#9ca3af";
pub const DUCHY: &str = "#dbeafe";
pub const OUTSIDE: &str = "#f3f4f6";
pub const COMPUTES: &str = "#bfdbfe";
pub const WAITS: &str = "#fef3c7";

/// A picture under construction. Lengths are pixels.
pub struct Svg {
    width: i32,
    height: i32,
    title: &'static str,
    body: String,
}

impl Svg {
    pub fn new(title: &'static str, width: i32, height: i32) -> Self {
        Self { width, height, title, body: String::new() }
    }

    fn element(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("a string takes everything");
    }

    /// A box with lines of text in it, the first in bold if there are several.
    pub fn labelled_box(&mut self, (x, y, width, height): (i32, i32, i32, i32), fill: &str, lines: &[&str]) {
        self.element(format_args!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{INK}"/>"#
        ));
        let first = y + height / 2 + 5 - 8 * (lines.len() as i32 - 1);
        for (index, line) in lines.iter().enumerate() {
            let class = if index == 0 && lines.len() > 1 { "bold" } else { "" };
            self.text(x + width / 2, first + 17 * index as i32, "middle", class, line);
        }
    }

    pub fn text(&mut self, x: i32, y: i32, anchor: &str, class: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.element(format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    /// A faint vertical line.
    pub fn life(&mut self, x: i32, from: i32, to: i32) {
        self.element(format_args!(
            r#"<line x1="{x}" y1="{from}" x2="{x}" y2="{to}" stroke="{FAINT}" stroke-dasharray="3 3"/>"#
        ));
    }

    /// An arrow with a text above its middle; upright arrows have it to their right.
    pub fn arrow(&mut self, (x1, y1): (i32, i32), (x2, y2): (i32, i32), label: &str) {
        self.element(format_args!(
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{INK}" marker-end="url(#head)"/>"#
        ));
        if x1 == x2 {
            self.text(x1 + 6, i32::midpoint(y1, y2) + 4, "start", "label", label);
        } else {
            self.text(i32::midpoint(x1, x2), i32::midpoint(y1, y2) - 5, "middle", "label", label);
        }
    }

    pub fn finish(self) -> String {
        let Self { width, height, title, body } = self;
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="{title}">
<title>{title}</title>
<style>text {{ font: 13px sans-serif; fill: {INK} }} .bold {{ font-weight: bold }} .label {{ font-size: 12px }} .faint {{ font-size: 11px; font-style: italic }}</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>
{body}</svg>
"##
        )
    }
}

/// What happens between parties, from top to bottom.
pub enum Row {
    /// These parties compute this; the text says what.
    Stage(&'static [usize], &'static str, &'static str),
    /// These parties hand something to that one.
    Send(&'static [usize], usize, &'static str),
    /// One tells these.
    Tell(usize, &'static [usize], &'static str),
}

const COLUMN: i32 = 220;
const STEP: i32 = 40;
const HEAD: i32 = 60;

/// Parties side by side, and what passes between them.
pub fn flow(title: &'static str, parties: &[(&str, &str)], rows: &[Row]) -> String {
    let centre = |party: usize| COLUMN / 2 + COLUMN * party as i32;
    let arrows = |row: &Row| match row {
        Row::Stage(..) => 1,
        Row::Send(parties, ..) | Row::Tell(_, parties, _) => parties.len() as i32,
    };
    let height = HEAD + 30 + rows.iter().map(|row| STEP - 18 + 18 * arrows(row)).sum::<i32>();
    let mut svg = Svg::new(title, COLUMN * parties.len() as i32, height);
    for (party, (name, fill)) in parties.iter().enumerate() {
        svg.life(centre(party), HEAD - 10, height - 10);
        svg.labelled_box((centre(party) - 85, 15, 170, 35), fill, &[name]);
    }
    let mut y = HEAD + 15;
    for row in rows {
        match row {
            Row::Stage(at, name, what) => {
                for party in *at {
                    let lines: &[&str] = if what.is_empty() { &[name] } else { &[name, what] };
                    svg.labelled_box((centre(*party) - 105, y - 16, 210, 36), COMPUTES, lines);
                }
            }
            Row::Send(from, to, what) => {
                for (index, party) in from.iter().enumerate() {
                    let label = if index == 0 { what } else { "" };
                    svg.arrow((centre(*party), y + 8), (centre(*to), y + 8), label);
                    y += if index + 1 < from.len() { 18 } else { 0 };
                }
            }
            Row::Tell(from, to, what) => {
                for (index, party) in to.iter().enumerate() {
                    let label = if index == 0 { what } else { "" };
                    svg.arrow((centre(*from), y + 8), (centre(*party), y + 8), label);
                    y += if index + 1 < to.len() { 18 } else { 0 };
                }
            }
        }
        y += STEP;
    }
    svg.finish()
}

/// A stage in a list: its name, whether it waits, and what moves a computation out of it.
pub type Listed = (&'static str, bool, &'static str);

/// The stages of each role, one below the other.
pub fn stages(title: &'static str, roles: &[(&str, Vec<Listed>)]) -> String {
    const WIDTH: i32 = 330;
    const LINE: i32 = 54;
    let longest = roles.iter().map(|(_, stages)| stages.len()).max().unwrap_or(0) as i32;
    let mut svg = Svg::new(title, WIDTH * roles.len() as i32, 60 + LINE * longest);
    for (role, (name, stages)) in roles.iter().enumerate() {
        let left = WIDTH * role as i32 + 15;
        svg.text(left + 150, 28, "middle", "bold", name);
        for (index, (stage, waits, out)) in stages.iter().enumerate() {
            let top = 45 + LINE * index as i32;
            svg.labelled_box((left, top, 300, 26), if *waits { WAITS } else { COMPUTES }, &[stage]);
            if index + 1 < stages.len() {
                svg.arrow((left + 20, top + 26), (left + 20, top + LINE), out);
            }
        }
    }
    svg.finish()
}

/// A word and what it is, as repositories show them on top.
pub fn badge(name: &'static str, value: &str) -> String {
    let [left, right] = [name, value].map(|text| 7 * text.chars().count() as i32 + 14);
    let mut svg = Svg::new(name, left + right, 20);
    svg.element(format_args!(r##"<rect width="{left}" height="20" fill="#e5e7eb"/>"##));
    svg.element(format_args!(r##"<rect x="{left}" width="{right}" height="20" fill="{COMPUTES}"/>"##));
    svg.text(left / 2, 14, "middle", "label", name);
    svg.text(left + right / 2, 14, "middle", "label", value);
    svg.finish()
}
