//! What was spent, what was asked, what was answered.
