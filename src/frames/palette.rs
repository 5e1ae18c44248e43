//! False colours: from a cold black over violet, red and orange to a hot white, each lighter than the one before.

pub type Rgb = [u8; 3];

/// Colours of temperatures. They fit into a picture's table of 256 with what else there is to draw.
pub const SHADES: usize = 250;

/// Where on the way from cold to hot, in 1/1000, and which colour is there. Between them it is mixed.
const ANCHORS: [(usize, Rgb); 7] = [
    (0, [10, 6, 34]),
    (150, [54, 16, 104]),
    (330, [136, 26, 116]),
    (510, [212, 62, 66]),
    (700, [246, 140, 30]),
    (880, [254, 216, 84]),
    (1000, [255, 252, 232]),
];

/// All shades, the coldest first.
pub fn shades() -> impl Iterator<Item = Rgb> {
    (0..SHADES).map(|shade| mixed(shade * 1000 / (SHADES - 1)))
}

/// The shade of a temperature. Where all are the same, that is the one in the middle.
pub fn shade(celsius: f64, min: f64, max: f64) -> u8 {
    // Halves, because the distance of the largest numbers is none.
    let (part, whole) = (celsius / 2.0 - min / 2.0, max / 2.0 - min / 2.0);
    let place = if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.5 };
    (place * (SHADES - 1) as f64).round() as u8
}

fn mixed(place: usize) -> Rgb {
    let next = ANCHORS.iter().position(|(at, _)| *at >= place).unwrap_or(ANCHORS.len() - 1).max(1);
    let ((low, cold), (high, hot)) = (ANCHORS[next - 1], ANCHORS[next]);
    let mix = |cold: u8, hot: u8| {
        let (cold, hot) = (usize::from(cold), usize::from(hot));
        ((cold * (high - place) + hot * (place - low)) / (high - low)) as u8
    };
    [mix(cold[0], hot[0]), mix(cold[1], hot[1]), mix(cold[2], hot[2])]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How light a colour is to the eye: L* of CIELAB.
    fn lightness(colour: Rgb) -> f64 {
        let linear = colour.map(|part| (f64::from(part) / 255.0).powf(2.2));
        let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
        if luminance > 0.008_856 { 116.0 * luminance.cbrt() - 16.0 } else { 903.3 * luminance }
    }

    #[test]
    fn what_is_hotter_is_lighter_by_about_as_much() {
        let lightness: Vec<f64> = shades().map(lightness).collect();
        assert_eq!(lightness.len(), SHADES);
        let even = (lightness[SHADES - 1] - lightness[0]) / (SHADES - 1) as f64;
        for steps in lightness.windows(11) {
            let step = (steps[10] - steps[0]) / 10.0;
            assert!((even / 2.5..even * 1.5).contains(&step), "{step} where {even} is even");
        }
    }

    #[test]
    fn a_shade_says_where_between_the_extremes_a_temperature_is() {
        let hottest = SHADES as u8 - 1;
        for (celsius, min, max, expected) in [
            (20.0, 20.0, 40.0, 0),
            (40.0, 20.0, 40.0, hottest),
            (30.0, 20.0, 40.0, 125),
            (7.0, 7.0, 7.0, 125),
            (f64::MIN, f64::MIN, f64::MAX, 0),
            (f64::MAX, f64::MIN, f64::MAX, hottest),
            (5e-324, 0.0, 5e-324, 125),
        ] {
            assert_eq!(shade(celsius, min, max), expected, "{celsius} between {min} and {max}");
        }
    }
}
