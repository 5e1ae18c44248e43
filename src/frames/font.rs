//! The few signs that a scale of temperatures needs, dot by dot.

/// In dots.
pub const WIDTH: usize = 5;
pub const HEIGHT: usize = 7;

type Sign = [&'static str; HEIGHT];

/// Whether a sign has ink at a dot. What is no sign of ours has none.
pub fn ink(sign: char, x: usize, y: usize) -> bool {
    SIGNS.iter().find(|(one, _)| *one == sign).is_some_and(|(_, dots)| dots[y].as_bytes()[x] == b'#')
}

const SIGNS: [(char, Sign); 15] = [
    ('0', [" ### ", "#   #", "#  ##", "# # #", "##  #", "#   #", " ### "]),
    ('1', ["  #  ", " ##  ", "# #  ", "  #  ", "  #  ", "  #  ", "#####"]),
    ('2', [" ### ", "#   #", "    #", "  ## ", " #   ", "#    ", "#####"]),
    ('3', [" ### ", "#   #", "    #", "  ## ", "    #", "#   #", " ### "]),
    ('4', ["   # ", "  ## ", " # # ", "#  # ", "#####", "   # ", "   # "]),
    ('5', ["#####", "#    ", "#### ", "    #", "    #", "#   #", " ### "]),
    ('6', ["  ## ", " #   ", "#    ", "#### ", "#   #", "#   #", " ### "]),
    ('7', ["#####", "    #", "   # ", "   # ", "  #  ", "  #  ", "  #  "]),
    ('8', [" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "]),
    ('9', [" ### ", "#   #", "#   #", " ####", "    #", "   # ", " ##  "]),
    ('-', ["     ", "     ", "     ", "#####", "     ", "     ", "     "]),
    ('.', ["     ", "     ", "     ", "     ", "     ", " ##  ", " ##  "]),
    ('°', [" ##  ", "#  # ", "#  # ", " ##  ", "     ", "     ", "     "]),
    ('C', [" ### ", "#   #", "#    ", "#    ", "#    ", "#   #", " ### "]),
    ('e', ["     ", "     ", " ### ", "#   #", "#####", "#    ", " ### "]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sign_fills_its_dots() {
        for (sign, dots) in SIGNS {
            assert!(dots.iter().all(|line| line.len() == WIDTH), "{sign}");
            let inked =
                (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| (x, y))).filter(|(x, y)| ink(sign, *x, *y));
            assert!(inked.count() >= 4, "{sign}");
        }
        assert!(!ink('?', 2, 3));
    }
}
