//! Bars as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One bar, and how far its passes lie apart.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) name: &'static str,
    pub(super) value: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

const WIDTH: u32 = 720;
const ROW: u32 = 36;
const BLUE: RGBColor = RGBColor(70, 118, 184);

/// Draws horizontal bars, the first at the top.
pub(super) fn bars(file: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    let size = (WIDTH, 90 + ROW * u32::try_from(bars.len())?);
    let root = SVGBackend::new(file, size).into_drawing_area();
    draw(&root, title, bars).map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn draw<B: DrawingBackend>(
    root: &DrawingArea<B, plotters::coord::Shift>,
    title: &str,
    bars: &[Bar],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    root.fill(&WHITE)?;
    let end = bars.iter().map(|bar| bar.most).fold(0.0, f64::max) * 1.12;
    let rows = bars.len() as i32;
    let mut chart = ChartBuilder::on(root)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(150)
        .build_cartesian_2d(0.0..end, (0..rows - 1).into_segmented())?;
    let name = |row: &SegmentValue<i32>| match row {
        SegmentValue::CenterOf(row) => {
            bars.get((rows - 1 - row) as usize).map_or("", |bar| bar.name).to_owned()
        }
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .max_light_lines(1)
        .y_label_formatter(&name)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (bar, row) in bars.iter().zip((0..rows).rev()) {
        let corners = [(0.0, SegmentValue::Exact(row)), (bar.value, SegmentValue::Exact(row + 1))];
        let mut rectangle = Rectangle::new(corners, BLUE.filled());
        rectangle.set_margin(6, 6, 0, 0);
        chart.draw_series([rectangle])?;
        let middle = SegmentValue::CenterOf(row);
        chart.draw_series([PathElement::new(
            [(bar.least, middle.clone()), (bar.most, middle.clone())],
            BLACK,
        )])?;
        let label = if bar.value < 100.0 { format!("{:.1}", bar.value) } else { format!("{:.0}", bar.value) };
        chart.draw_series([Text::new(label, (bar.most + end * 0.01, middle), ("sans-serif", 14))])?;
    }
    root.present()
}
