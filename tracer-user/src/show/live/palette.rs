//! The styles of the view. Colour only adds to what words and positions say already, so that
//! nothing is lost where it is switched off.

use ratatui::style::{Color, Modifier, Style};

use crate::rebuild::snapshot::TaskState;

/// Styles by their meaning.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    colours: bool,
}

impl Palette {
    /// With colours of the terminal's own theme.
    pub const COLOURS: Self = Self { colours: true };
    /// With bold, dim and reversed text only.
    pub const PLAIN: Self = Self { colours: false };

    /// As the user's `NO_COLOR` says (no-color.org: set and not empty switches colours off).
    #[must_use]
    pub fn from_no_color(value: Option<&std::ffi::OsStr>) -> Self {
        match value {
            Some(value) if !value.is_empty() => Self::PLAIN,
            _ => Self::COLOURS,
        }
    }

    const fn colour(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    /// Names and headings.
    #[must_use]
    pub const fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What matters less, or is no longer certain.
    #[must_use]
    pub const fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The selected row.
    #[must_use]
    pub const fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What the user must not overlook.
    #[must_use]
    pub const fn alarm(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// Source positions.
    #[must_use]
    pub const fn source(self) -> Style {
        self.colour(Color::Cyan)
    }

    /// What is waited for.
    #[must_use]
    pub const fn wait(self) -> Style {
        self.colour(Color::Yellow)
    }

    /// A task's state.
    #[must_use]
    pub const fn state(self, state: TaskState) -> Style {
        match state {
            TaskState::Idle => Style::new(),
            TaskState::Scheduled => self.colour(Color::Yellow),
            TaskState::Running => self.colour(Color::Green),
            TaskState::Complete => self.faint(),
            TaskState::Unknown => self.colour(Color::Magenta),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_switches_colours_off_unless_it_is_empty() {
        let of = |value: Option<&str>| Palette::from_no_color(value.map(AsRef::as_ref)).colours;
        assert!(of(None));
        assert!(of(Some("")));
        assert!(!of(Some("1")));
        assert_eq!(Palette::PLAIN.alarm().fg, None);
    }
}
