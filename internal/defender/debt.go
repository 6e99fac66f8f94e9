package defender

// debt is the error of a step that had read rows before it failed. What was
// shown may not be shown again: the rows are returned first, and the error waits
// for the next call.
type debt struct{ err error }

// behind returns what is to be returned now: err itself, or nothing if it waits
// behind rows.
func (d *debt) behind(rows int, err error) error {
	if err != nil && rows > 0 {
		d.err, err = err, nil
	}
	return err
}

// take returns what waited, and forgets it.
func (d *debt) take() (err error) {
	err, d.err = d.err, nil
	return err
}
