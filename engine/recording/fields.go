package recording

import "sockwarden/collectors"

// Sets of known fields have numbers in the file: each is written once, and there are few.
// Fields that this program does not know have no meaning for it.

// fieldsDoc says which fields a number stands for.
type fieldsDoc struct {
	ID     int      `json:"id"`
	Fields []string `json:"fields"`
}

// known numbers sets of fields as they come.
type known struct {
	ids  map[collectors.FieldSet]int
	tell func(fieldsDoc) error
}

func (k *known) id(s collectors.FieldSet) (int, error) {
	if id, ok := k.ids[s]; ok {
		return id, nil
	}
	id := len(k.ids) + 1
	k.ids[s] = id
	doc := fieldsDoc{ID: id, Fields: []string{}}
	for f := range s.Each {
		doc.Fields = append(doc.Fields, f.String())
	}
	return id, k.tell(doc)
}

// fieldsOf is the set that a line declares.
func (d *fieldsDoc) set() (s collectors.FieldSet) {
	for _, name := range d.Fields {
		if f, ok := collectors.FieldByName(name); ok {
			s.Add(collectors.Fields(f))
		}
	}
	return s
}
