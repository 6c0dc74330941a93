-- Migration: 006_order_report
-- Description: Joins the branches: open orders with their totals, and whether the stock covers them
-- Author: Ada Kern
-- Date: 2025-03-24
-- Requires: 004_order_totals, 005_stock

CREATE VIEW shop.open_orders AS
SELECT o.id,
       o.customer_id,
       o.state,
       o.total_cents,
       NOT EXISTS (SELECT FROM shop.order_lines AS l
                     LEFT JOIN shop.stock AS s USING (product_id)
                    WHERE l.order_id = o.id AND l.quantity > coalesce(s.pieces, 0)) AS deliverable
  FROM shop.orders AS o
 WHERE o.state IN ('placed', 'paid');

COMMENT ON VIEW shop.open_orders IS 'Orders that wait for us';
